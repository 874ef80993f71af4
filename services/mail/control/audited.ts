/**
 * A call that may change the state of an account, and its one record on the audit trail. What has changed owes the record
 * already: it stands in the account's own record. Everything else is noted here: what was refused, and what changed nothing.
 */
import { type Caller, type TrailAction, type TrailRecord, trailRecord } from '#shared/trail.ts'
import { type AccountRef, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { asAppError } from './endpoint.ts'

export type AuditedDeps = {
  /** Puts a record on the trail beside the work; never throws. */
  note(record: TrailRecord): void
  clock: Clock
  /** Name of this instance. */
  instance: string
}

/**
 * @param work says whether the account's record owes `record` now
 * @throws what the work throws. Where nobody knows whether it wrote, both records have one id, and only one is kept. A receipt of `erase` has its own.
 */
export async function audited<T>(
  action: TrailAction,
  { userId, provider }: { userId: string; provider: AccountRef['provider'] | null },
  caller: Caller,
  { note, clock, instance }: AuditedDeps,
  work: (record: TrailRecord) => Promise<{ reply: T; isOwed: boolean }>,
): Promise<T> {
  const record = trailRecord({ ...caller, action, userId, provider, instance, atS: toSeconds(clock.wallMs()) })
  try {
    const { reply, isOwed } = await work(record)
    if (!isOwed) note(record)
    return reply
  } catch (error) {
    note({ ...record, outcome: asAppError(error).code })
    throw error
  }
}
