/** The order in which cells are measured: each once a round, and every other round the other way round. */

export type Cell<T> = { name: string; run(round: number): Promise<T> }

/**
 * What the machine does beside drifts slowly; interleaved, it meets every cell, and reversed, no cell is always the one that
 * comes after another.
 * @returns the results of each cell, in the order of the rounds. @throws what a cell throws; the signal's reason
 */
export async function interleave<T>(
  cells: readonly Cell<T>[],
  rounds: number,
  signal: AbortSignal,
): Promise<Map<string, T[]>> {
  const results = new Map<string, T[]>(cells.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++)
    for (const { name, run } of round % 2 === 0 ? cells : cells.toReversed()) {
      signal.throwIfAborted()
      results.get(name)?.push(await run(round))
    }
  return results
}

/** Each of those that are chosen with the next of them, whatever came between. */
export function again<T>(runs: readonly T[], isOne: (run: T) => boolean): [T, T][] {
  const chosen = runs.filter(isOne)
  return chosen.slice(1).map((next, i) => [chosen[i] ?? next, next])
}

/**
 * Each run of a size by the mean of those of the size before that came directly before or after it, for the same reason for
 * which cells are interleaved. @throws Error when there is none
 */
export function besideTenth<T extends { size: number }>(
  runs: readonly T[],
  size: number,
  value: (run: T) => number,
): number[] {
  return runs.flatMap((run, i) => {
    if (run.size !== size) return []
    const beside = [...runs.slice(Math.max(0, i - 1), i), ...runs.slice(i + 1, i + 2)]
    const values = beside.filter((other) => other.size === size - 1).map(value)
    if (values.length === 0) throw new Error(`run ${i} has no run of a tenth beside it`)
    return [value(run) / (values.reduce((sum, one) => sum + one, 0) / values.length)]
  })
}
