/** The least of a plot that still fails. */

import type { Mutant } from './mutants.ts'
import { play } from './play.ts'
import type { Plot } from './plot.ts'

const without = <T>(list: readonly T[], at: number): T[] => list.filter((_, i) => i !== at)

export async function shrink(seed: number, plot: Plot, mutant: Mutant | null): Promise<Plot> {
  const fails = async (shorter: Plot): Promise<boolean> => (await play(seed, shorter, mutant)).faults.length > 0
  let least = plot
  for (const part of ['acts', 'users', 'processes'] as const)
    for (let at = least[part].length - 1; at >= 0; at--) {
      if (part !== 'acts' && least[part].length === 1) break
      const shorter = { ...least, [part]: without<unknown>(least[part], at) } as Plot
      if (await fails(shorter)) least = shorter
    }
  return least
}
