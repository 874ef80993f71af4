/** Mending the payload of a waiting row: one that the disk changed, one that the server finds too large. Never drops it. */
import { cutEvent } from '../store/event-size.ts'
import { eventOf } from '../store/messages.ts'
import { type OutboxRow, replacePayload } from '../store/outbox-rows.ts'
import type { UserTx } from '../store/user-store.ts'
import { ownEvent } from './own-event.ts'

/** The row with a payload made anew from the stored mail. @throws Error when there is none: the row stays and waits. */
export function rebuildPayload(tx: UserTx, row: OutboxRow): OutboxRow {
  const event = eventOf(tx, row.msgId)
  if (event === null) throw new Error(`outbox row ${row.id} is damaged and its mail is not stored`)
  replacePayload(tx, row.id, event)
  return { ...row, payload: Buffer.from(JSON.stringify(event)), intact: true }
}

/** Cuts the event to half its size; false when there is nothing left to cut. */
export function shrinkPayload(tx: UserTx, row: OutboxRow): boolean {
  const event = eventOf(tx, row.msgId) ?? ownEvent(tx.userId, row.payload)
  if (event === null) return false
  const cut = cutEvent(event, Math.floor(row.payload.length / 2))
  if (Buffer.byteLength(JSON.stringify(cut)) >= row.payload.length) return false
  replacePayload(tx, row.id, cut)
  return true
}
