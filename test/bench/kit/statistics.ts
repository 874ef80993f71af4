/** What is made of measured numbers. Pure; a statistic of nothing is NaN, which meets no target. */

/** The smallest value that is not below `part` (0 to 1) of all. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(sorted.length * part) - 1))] ?? Number.NaN
}

/** Of an even number of values the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]]
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2
}

/**
 * One quotient for each round. What the machine does beside changes from round to round far more than within one, so only
 * numbers of one round are divided by each other.
 */
export function quotients(above: readonly number[], below: readonly number[]): number[] {
  if (above.length !== below.length) throw new Error(`${above.length} rounds against ${below.length}`)
  return above.map((value, round) => value / (below[round] ?? Number.NaN))
}

/** Cuts what was measured one after another into so many pieces of the same length; what is left over is in the last one. */
export function pieces<T>(values: readonly T[], count: number): T[][] {
  const length = Math.floor(values.length / count)
  return Array.from({ length: count }, (_, i) =>
    values.slice(i * length, i === count - 1 ? undefined : (i + 1) * length),
  )
}

/** Every other window against those between them: without noise 1, because both are of the same. */
export function oddAgainstEven(windows: readonly number[]): number {
  return median(windows.filter((_, i) => i % 2 === 0)) / median(windows.filter((_, i) => i % 2 === 1))
}
