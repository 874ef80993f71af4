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
