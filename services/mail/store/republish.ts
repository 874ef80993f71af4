/** Publishing again what a stream has lost. Decides nothing: the caller names the events. */
import { setKnownSeq } from './known.ts'
import { eventOf } from './messages.ts'
import { appendOutbox, pendingRowOf, unpublish } from './outbox-rows.ts'
import type { UserTx } from './prepared.ts'

/**
 * Puts events back into the outbox: rows that are still kept wait again in their old place, others are rebuilt from
 * the stored mail and appended. Returns how many; an event without a row and without a mail cannot be rebuilt.
 */
export function republish(tx: UserTx, eventIds: readonly string[], nowMs: number): number {
  let count = eventIds.length
  for (const id of unpublish(tx, eventIds)) {
    if (pendingRowOf(tx, id) !== null) continue
    const event = eventOf(tx, id)
    if (event === null) count--
    else appendOutbox(tx, event, nowMs)
  }
  for (const id of eventIds) setKnownSeq(tx, id, 0)
  return count
}
