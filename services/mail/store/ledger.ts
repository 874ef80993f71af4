/**
 * The whole ledger of a user, out of the database and into it, page by page: what a snapshot is made from, and what one
 * is taken over into. It knows no object store.
 */
import { stringify } from 'uuid'
import { sql } from './drizzle.ts'
import { addKnown, setKnownSeq } from './known.ts'
import { readMeta } from './meta.ts'
import { markPublished, pendingRowOf } from './outbox-rows.ts'
import { prepareRead, type UserReader, type UserTx } from './prepared.ts'
import { known } from './schema/user.ts'

/** An event that was published or counts as published: 16 bytes of its UUID, and its sequence; 0 = not on the stream. */
export type LedgerEntry = { id: Buffer; seq: number }

const { placeholder } = sql
/** Encoded by SQLite: an object for each entry costs six times as much, and memory until garbage is collected. */
const selectPage = prepareRead((db) =>
  db
    .select({
      entries: sql<string | null>`group_concat(iif(waits IS NULL, hex(event_id) || printf('%016x', seq), NULL), '')`,
      rows: sql<number>`count(*)`,
      last: sql<number | null>`max(place)`,
    })
    .from(
      sql`(SELECT rowid AS place, event_id, seq, waits FROM ${known} WHERE rowid > ${placeholder('after')} ORDER BY rowid LIMIT ${placeholder('limit')})`,
    )
    .prepare(),
)
const selectSize = prepareRead((db) => db.select({ n: sql<number | null>`max(rowid)` }).from(known).prepare())

const selectEnd = prepareRead((db) =>
  db
    .select({ id: known.eventId, seq: known.seq })
    .from(known)
    .where(sql`seq > 0`)
    .orderBy(sql`seq DESC`)
    .limit(1)
    .prepare(),
)
const selectFresh = prepareRead((db) =>
  db
    .select({ n: sql<number>`count(*)` })
    .from(sql`(SELECT 1 FROM ${known} WHERE seq > 0 AND seq > ${placeholder('last')} LIMIT ${placeholder('limit')})`)
    .prepare(),
)

/**
 * Up to where on the stream everything of the user is known. Other than what the relay expects next it does not fall when
 * events age out.
 */
export function ledgerEnd(reader: UserReader): { seq: number; eventId: string | null } {
  const { lastSeq = 0, lastEventId = null } = readMeta(reader) ?? {}
  const known = selectEnd(reader).get()
  return known !== undefined && known.seq > lastSeq
    ? { seq: known.seq, eventId: stringify(known.id) }
    : { seq: lastSeq, eventId: lastEventId }
}

/** How many entries stand on the stream behind a sequence, counted up to `limit`. */
export const freshEntries = (reader: UserReader, last: number, limit: number): number =>
  selectFresh(reader).get({ last, limit })?.n ?? 0

/**
 * The next `limit` rows behind one, in the order in which they came. `bytes` = the entries among them, as `decodeEntries` reads
 * them; `end` = the last row that was looked at, null at the end. An event that waits is not published, wherever it once
 * stood: whoever took it for known would lose it.
 * @param after 0 = from the start
 */
export function ledgerPage(reader: UserReader, after: number, limit: number): { bytes: Buffer; end: number | null } {
  const { entries = null, rows = 0, last = null } = selectPage(reader).get({ after, limit }) ?? {}
  return { bytes: Buffer.from(entries ?? '', 'hex'), end: rows < limit ? null : last }
}

/** About how many entries there are: the last one's number, because counting reads them all. */
export const ledgerSize = (reader: UserReader): number => selectSize(reader).get()?.n ?? 0

/** Takes entries of another ledger over; what waits here and is published there waits no longer. */
export function takeOverEntries(
  tx: UserTx,
  entries: readonly LedgerEntry[],
  last: { seq: number; eventId: string | null },
  nowMs: number,
): void {
  const marks: { id: number; msgId: string; seq: number }[] = []
  for (const { id, seq } of entries) {
    const eventId = stringify(id)
    if (seq > 0) setKnownSeq(tx, eventId, seq)
    else addKnown(tx, eventId)
    const row = pendingRowOf(tx, eventId)
    if (row !== null) marks.push({ id: row, msgId: eventId, seq })
  }
  markPublished(tx, marks, last, nowMs)
}
