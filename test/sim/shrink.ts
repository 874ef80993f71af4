/** The least of a plot that still fails. */

import type { Mutant } from './mutants.ts'
import { play } from './play.ts'
import type { Plot } from './plot.ts'

/** Without one act, one user with all that happens to their mailbox, or one process. */
function without(plot: Plot, part: 'acts' | 'users' | 'processes', at: number): Plot {
  const shorter = { ...plot, [part]: (plot[part] as unknown[]).filter((_, i) => i !== at) }
  const users = new Set(shorter.users.map(({ user }) => user))
  return { ...shorter, acts: shorter.acts.filter((act) => !('user' in act) || users.has(act.user)) }
}

export async function shrink(seed: number, plot: Plot, mutant: Mutant | null): Promise<Plot> {
  const fails = async (shorter: Plot): Promise<boolean> => (await play(seed, shorter, mutant)).faults.length > 0
  let least = plot
  for (const part of ['acts', 'users', 'processes'] as const)
    for (let at = least[part].length - 1; at >= 0; at--) {
      if (part !== 'acts' && least[part].length === 1) break
      const shorter = without(least, part, at)
      if (await fails(shorter)) least = shorter
    }
  return least
}
