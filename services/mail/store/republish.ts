/** Publishing again what a stream has lost. Decides nothing: the caller names the events. */
import { payloadOf } from './event-size.ts'
import { forgetKnown } from './known.ts'
import { eventOf } from './messages.ts'
import { moveToFront, prependOutbox } from './outbox-rows.ts'
import type { UserTx } from './prepared.ts'

/**
 * Puts events back into the outbox before everything that waits there, the first one named last: named from the newest
 * to the oldest they leave in the order in which they were stored. A row that is still kept is used, others are rebuilt
 * from the stored mail. Returns how many. An event of which there is neither was published from another disk: it is
 * forgotten, and published as a new one when its mail is fetched again.
 */
export function republish(tx: UserTx, newestFirst: readonly string[], nowMs: number): number {
  let count = 0
  for (const id of newestFirst) {
    if (moveToFront(tx, id) || rebuild(tx, id, nowMs)) count++
    else forgetKnown(tx, id)
  }
  return count
}

function rebuild(tx: UserTx, id: string, nowMs: number): boolean {
  const event = eventOf(tx, id)
  if (event !== null) prependOutbox(tx, { event, payload: payloadOf(event) }, nowMs)
  return event !== null
}
