/**
 * `outbox`: events that wait for the stream, and for a while those that are on it. Order is id order.
 * It publishes nothing; it never skips or drops a row that was not published.
 */
import { hash } from 'node:crypto'
import type { EmailReceived } from '#shared/event.ts'
import { EVENT_TYPE, eventSubject } from '#shared/subjects.ts'
import { toSeconds } from '../base/model.ts'
import { and, asc, count, eq, isNotNull, isNull, lt, lte, max, min, sql } from './drizzle.ts'
import { payloadOf, type SizedEvent } from './event-size.ts'
import { knownSeq, setPublished, setWaiting } from './known.ts'
import { setLast } from './meta.ts'
import { prepareRead, prepareWrite, type UserReader, type UserTx } from './prepared.ts'
import { known, outbox as o } from './schema/user.ts'

export type OutboxRow = {
  id: number
  /** The event id; also its `Nats-Msg-Id`. */
  msgId: string
  subject: string
  payload: Buffer
  /** False when the payload is not what was written: the disk changed it. */
  intact: boolean
  retries: number
  /** Epoch ms before which the row must not be tried; 0 = now. */
  nextAttemptMs: number
  /** Epoch ms of storing. */
  tsMs: number
}
export type OutboxDepth = {
  pending: number
  /** When the oldest waiting event was stored, epoch ms; null when none waits. */
  oldestTsMs: number | null
  /** Highest id there is; 0 when there is no row. */
  lastId: number
}

const { placeholder } = sql
const unpublished = isNull(o.publishedAt)

const insertRow = prepareWrite((db) =>
  db
    .insert(o)
    .values({
      id: placeholder('id'),
      ts: placeholder('ts'),
      tsMs: placeholder('tsMs'),
      subject: placeholder('subject'),
      eventType: EVENT_TYPE,
      payload: placeholder('payload'),
      sha256: placeholder('sha256'),
      msgId: placeholder('msgId'),
    })
    .prepare(),
)
const selectDue = prepareRead((db) =>
  db
    .select({
      id: o.id,
      msgId: o.msgId,
      subject: o.subject,
      payload: o.payload,
      sha256: o.sha256,
      retries: o.retries,
      nextAttemptMs: o.nextAttemptMs,
      tsMs: o.tsMs,
    })
    .from(o)
    .where(and(unpublished, sql`${o.id} NOT BETWEEN ${placeholder('from')} AND ${placeholder('to')}`))
    .orderBy(asc(o.id))
    .limit(placeholder('limit'))
    .prepare(),
)
/** One statement for all rows of a batch: `marks` is a list of [row, sequence], as JSON. */
const updatePublished = prepareWrite((db) =>
  db
    .update(o)
    .set({ publishedAt: sql`${placeholder('at')}`, streamSeq: sql`mark.seq` })
    .from(sql`(SELECT value ->> 0 AS id, value ->> 1 AS seq FROM json_each(${placeholder('marks')})) AS mark`)
    .where(sql`${o.id} = mark.id`)
    .prepare(),
)
/** The ledger names the row; what is marked by this answer has to be the row of this event, and wait. */
const selectPendingId = prepareRead((db) =>
  db
    .select({ id: o.id })
    .from(known)
    .innerJoin(o, and(eq(o.id, known.waits), eq(o.msgId, placeholder('msgId')), unpublished))
    .where(eq(known.eventId, sql`unhex(${placeholder('msgId')}, '-')`))
    .prepare(),
)
/** Of AUTOINCREMENT: the highest id that there ever was. */
const selectSequence = prepareRead((db) =>
  db.select({ id: sql<number>`seq` }).from(sql`sqlite_sequence`).where(sql`name = 'outbox'`).prepare(),
)
const selectDepth = prepareRead((db) =>
  db
    .select({ pending: count(), oldestTsMs: min(o.tsMs) })
    .from(o)
    .where(unpublished)
    .prepare(),
)
const selectLastId = prepareRead((db) =>
  db
    .select({ id: max(o.id) })
    .from(o)
    .prepare(),
)

const selectFirstId = prepareRead((db) =>
  db
    .select({ id: min(o.id) })
    .from(o)
    .prepare(),
)
const selectPublishedId = prepareRead((db) =>
  db
    .select({ id: o.id })
    .from(o)
    .where(and(sql`stream_seq > 0`, eq(o.streamSeq, placeholder('seq')), eq(o.msgId, placeholder('msgId'))))
    .prepare(),
)
const moveRow = prepareWrite((db) =>
  db
    .update(o)
    .set({
      id: sql`${placeholder('to')}`,
      publishedAt: null,
      streamSeq: null,
      retries: 0,
      nextAttemptMs: 0,
      nextAttemptAt: null,
    })
    .where(eq(o.id, placeholder('id')))
    .prepare(),
)

/** By way of text: half the time of asking for a buffer. */
const sha256 = (payload: Uint8Array): Buffer => Buffer.from(hash('sha256', payload, 'binary'), 'binary')

/** The id of the next row that is appended, behind every one that there ever was. */
export const nextRowId = (reader: UserReader): number => (selectSequence(reader).get()?.id ?? 0) + 1

/** A row for an event that the ledger knows to wait in it. Answers the row as `dueRows` would read it. */
export function insertOutbox(tx: UserTx, { event, payload }: SizedEvent, nowMs: number, id: number): OutboxRow {
  const row = { id, msgId: event.event_id, subject: eventSubject(tx.userId), payload, tsMs: nowMs }
  insertRow(tx).run({ ...row, ts: toSeconds(nowMs), sha256: sha256(payload) })
  return { ...row, intact: true, retries: 0, nextAttemptMs: 0 }
}

/**
 * Unpublished rows in id order. Only the first one may be tried; the others wait behind it.
 * @param sent rows in id order, none of which is wanted, nor one between them
 */
export function dueRows(reader: UserReader, limit: number, sent: readonly OutboxRow[] = []): OutboxRow[] {
  const [from, to] = [sent[0]?.id ?? 0, sent.at(-1)?.id ?? -1]
  const rows = selectDue(reader).all({ limit, from, to })
  return rows.map((row) => ({
    id: row.id,
    msgId: row.msgId,
    subject: row.subject,
    payload: row.payload,
    intact: sha256(row.payload).equals(row.sha256),
    retries: row.retries ?? 0,
    nextAttemptMs: row.nextAttemptMs,
    tsMs: row.tsMs,
  }))
}

/** The unpublished row of an event, or null. */
export const pendingRowOf = (reader: UserReader, eventId: string): number | null =>
  selectPendingId(reader).get({ msgId: eventId })?.id ?? null

const selectWaiting = prepareRead((db) =>
  db
    .select({ id: o.id })
    .from(o)
    .where(and(unpublished, lte(o.id, placeholder('id'))))
    .limit(1)
    .prepare(),
)
const selectFront = prepareRead((db) =>
  db.select({ id: o.id, publishedAt: o.publishedAt }).from(o).orderBy(asc(o.id)).limit(placeholder('limit')).prepare(),
)
const deleteFront = prepareWrite((db) =>
  db
    .delete(o)
    .where(and(lte(o.id, placeholder('id')), isNotNull(o.publishedAt), lt(o.publishedAt, placeholder('before'))))
    .prepare(),
)

/** Notes that rows are on the stream, and the newest message of the subject. */
export function markPublished(
  tx: UserTx,
  rows: readonly { id: number; msgId: string; seq: number }[],
  last: { seq: number; eventId: string | null },
  nowMs: number,
): void {
  updatePublished(tx).run({ marks: JSON.stringify(rows.map(({ id, seq }) => [id, seq])), at: toSeconds(nowMs) })
  setPublished(tx, rows)
  setLast(tx, last)
}

/** Back-off of the first row; the rows behind it wait with it. */
export function delayHead({ db }: UserTx, id: number, retries: number, nextAttemptMs: number): void {
  db.update(o)
    .set({ retries, nextAttemptMs, nextAttemptAt: toSeconds(nextAttemptMs) })
    .where(eq(o.id, id))
    .run()
}

/** Replaces a payload that the disk changed. */
export function replacePayload({ db }: UserTx, id: number, event: EmailReceived): void {
  const payload = payloadOf(event)
  db.update(o)
    .set({ payload, sha256: sha256(payload) })
    .where(eq(o.id, id))
    .run()
}

export function outboxDepth(reader: UserReader): OutboxDepth {
  const depth = selectDepth(reader).get() ?? { pending: 0, oldestTsMs: null }
  return { ...depth, lastId: selectLastId(reader).get()?.id ?? 0 }
}

/** Whether each event stored up to this row is on the stream: then the positions captured with it may be a checkpoint. */
export const allPublishedUpTo = (reader: UserReader, id: number): boolean =>
  selectWaiting(reader).get({ id }) === undefined

/** Whether the first row is published and older than `beforeMs`: a look is no transaction that writes. */
export function isFrontOld(reader: UserReader, beforeMs: number): boolean {
  const publishedAt = selectFront(reader).get({ limit: 1 })?.publishedAt ?? null
  return publishedAt !== null && publishedAt < toSeconds(beforeMs)
}

/** Deletes published rows older than `beforeMs` from the front of the table; looks at `limit` rows. */
export function deletePublished(tx: UserTx, beforeMs: number, limit = 500): number {
  const last = selectFront(tx).all({ limit }).at(-1)
  return last === undefined ? 0 : deleteFront(tx).run({ id: last.id, before: toSeconds(beforeMs) }).changes
}

/** The row of an event: the one that waits, or the one that was published where the ledger says it stands; null = none. */
export function rowOf(reader: UserReader, eventId: string): number | null {
  const waiting = pendingRowOf(reader, eventId)
  if (waiting !== null) return waiting
  const seq = knownSeq(reader, eventId) ?? 0
  return seq === 0 ? null : (selectPublishedId(reader).get({ seq, msgId: eventId })?.id ?? null)
}

/** Puts the row of an event, published or not, before all others, where it waits; false when it has none any more. */
export function moveToFront(tx: UserTx, eventId: string): boolean {
  const id = rowOf(tx, eventId)
  if (id === null) return false
  const to = frontId(tx)
  moveRow(tx).run({ id, to })
  setWaiting(tx, eventId, to)
  return true
}

/** A row for an event that has none, before all others, where it waits. */
export function prependOutbox(tx: UserTx, sized: SizedEvent, nowMs: number): void {
  const id = frontId(tx)
  insertOutbox(tx, sized, nowMs, id)
  setWaiting(tx, sized.event.event_id, id)
}

/** Below every id there is. It may be negative; ids only order. */
const frontId = (reader: UserReader): number => (selectFirstId(reader).get()?.id ?? 0) - 1
