/** `mail.rekey` of this instance: what it answers, and the pass over the stored tokens that a request begins. */
import type { RekeyReply, RekeyRequest } from '#shared/rekey.ts'
import { passId, trailRecord } from '#shared/trail.ts'
import { toSeconds } from '../base/model.ts'
import { addressOf } from '../owner/lease-view.ts'
import type { Supervisor } from '../owner/supervisor.ts'
import { Rekey } from '../token/rekey.ts'
import type { Work } from './ownership.ts'

export type RekeyWork = Pick<
  Work,
  'instance' | 'keys' | 'seal' | 'auth' | 'accounts' | 'leases' | 'counter' | 'background' | 'trail' | 'clock' | 'log'
>

/** Requests come and go; a pass that one of them began goes on to its end. */
export function rekeying(
  work: RekeyWork,
  supervisor: Supervisor,
): (request: RekeyRequest, requestId: string) => Promise<RekeyReply> {
  const { instance, keys, accounts, leases, counter, background, trail, clock, log } = work
  const rekey = new Rekey({
    ...work,
    records: () => accounts.entries(),
    write: (account, record, revision) => accounts.write(account, record, revision),
    // Of a user on the way from one owner to the next, whoever comes first.
    isMine: (userId) => supervisor.tenures.has(userId) || addressOf(userId, leases) === null,
  })
  let isUnderWay = false
  /** Before the first row: a process that dies in the midst has said what it was about. */
  const recorded = async (to: string, requestId: string): Promise<boolean> => {
    const id = passId(requestId, instance, to)
    const asked = { action: 'rekey', by: 'service', userId: null, provider: null } as const
    try {
      await trail.append(trailRecord({ ...asked, id, requestId, to, instance, atS: toSeconds(clock.wallMs()) }))
      return true
    } catch (error) {
      log.warn({ err: error, to }, 'the audit trail takes no record, so no token is sealed anew; ask again')
      return false
    }
  }
  /** The one place that knows when this instance has begun to seal tokens anew, and what came of it. */
  const begin = async (to: string, requestId: string): Promise<void> => {
    if (!(await recorded(to, requestId)) || background.signal.aborted) return
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
  return async ({ to }, requestId) => {
    const { kid } = keys.active()
    const rows = await counter.count()
    const isLeft = [rows.accounts, rows.auth_db].some((counts) =>
      Object.keys(counts).some((key) => key !== kid && counts[key] !== 0),
    )
    if (to === kid && isLeft && !isUnderWay) {
      isUnderWay = true
      background.run(
        begin(to, requestId).finally(() => {
          isUnderWay = false
        }),
      )
    }
    return {
      instance,
      active: kid,
      keys: [...keys.kids],
      running: isUnderWay,
      resealed: rekey.resealed,
      rows,
    }
  }
}
