/** `mail.rekey` of this instance: what it answers, and the pass over the stored tokens that a request begins. */
import type { RekeyReply, RekeyRequest } from '#shared/rekey.ts'
import type { Supervisor } from '../owner/supervisor.ts'
import { Rekey } from '../token/rekey.ts'
import type { Work } from './ownership.ts'

export type RekeyWork = Pick<
  Work,
  'instance' | 'keys' | 'seal' | 'auth' | 'accounts' | 'counter' | 'background' | 'log'
>

/** Requests come and go; a pass that one of them began goes on to its end. */
export function rekeying(work: RekeyWork, supervisor: Supervisor): (request: RekeyRequest) => Promise<RekeyReply> {
  const { instance, keys, accounts, counter, background, log } = work
  const rekey = new Rekey({
    ...work,
    records: () => accounts.entries(),
    write: (account, record, revision) => accounts.write(account, record, revision),
    // Of a user on the way from one owner to the next, whoever comes first.
    isMine: (userId) => supervisor.tenures.has(userId) || supervisor.ownerAddress(userId) === null,
  })
  /** The one place that knows when this instance has begun to seal tokens anew, and what came of it. */
  const begin = async (to: string): Promise<void> => {
    const before = rekey.resealed
    const outcome = await rekey.pass(background.signal).then(
      () => 'done',
      (error) => {
        if (!background.signal.aborted) log.warn({ err: error, to }, 'sealing tokens anew was cut off; ask again')
        return 'cut off'
      },
    )
    const resealed = rekey.resealed - before
    if (resealed > 0) log.info({ to, resealed, outcome }, 'tokens were sealed anew')
  }
  return async ({ to }) => {
    const { kid } = keys.active()
    const rows = await counter.count()
    const isLeft = [rows.accounts, rows.auth_db].some((counts) =>
      Object.keys(counts).some((key) => key !== kid && counts[key] !== 0),
    )
    if (to === kid && isLeft && !rekey.running) background.run(begin(to))
    return {
      instance,
      active: kid,
      keys: [...keys.kids],
      running: rekey.running,
      resealed: rekey.resealed,
      rows,
    }
  }
}
