/** The ledger of exactly-once: each event id ever stored or read from the stream, with its sequence there (0 = none). */

import { parse, stringify } from 'uuid'
import { and, eq, gt, sql } from './drizzle.ts'
import { prepareRead, prepareWrite, type UserReader, type UserTx } from './prepared.ts'
import { known } from './schema/user.ts'

const { placeholder } = sql
const bytesOf = (eventId: string): Buffer => Buffer.from(parse(eventId))

const insertKnown = prepareWrite((db) =>
  db
    .insert(known)
    .values({ eventId: placeholder('id'), seq: 0, waits: placeholder('waits'), mail: placeholder('mail') })
    .onConflictDoNothing()
    .prepare(),
)
const upsertKnown = prepareWrite((db) =>
  db
    .insert(known)
    .values({ eventId: placeholder('id'), seq: placeholder('seq'), mail: placeholder('mail') })
    .onConflictDoUpdate({
      target: known.eventId,
      set: { seq: sql`excluded.seq`, mail: sql`coalesce(excluded.mail, ${known.mail})` },
    })
    .prepare(),
)
/** One statement for all of a batch: `places` is a list of [id, sequence], as JSON. WHERE tells SQLite that no ON of a join follows. */
const upsertMany = prepareWrite((db) =>
  db
    .insert(known)
    .select(
      sql`SELECT unhex(value ->> 0, '-'), value ->> 1, NULL, NULL FROM json_each(${placeholder('places')}) WHERE true`,
    )
    .onConflictDoUpdate({ target: known.eventId, set: { seq: sql`excluded.seq`, waits: null } })
    .prepare(),
)
const upsertWaiting = prepareWrite((db) =>
  db
    .insert(known)
    .values({ eventId: placeholder('id'), seq: 0, waits: placeholder('row') })
    .onConflictDoUpdate({ target: known.eventId, set: { seq: 0, waits: sql`excluded.waits` } })
    .prepare(),
)
const updateMail = prepareWrite((db) =>
  db
    .update(known)
    .set({ mail: sql`${placeholder('mail')}` })
    .where(eq(known.eventId, placeholder('id')))
    .prepare(),
)
const selectSeq = prepareRead((db) =>
  db
    .select({ seq: known.seq })
    .from(known)
    .where(eq(known.eventId, placeholder('id')))
    .prepare(),
)

/** A literal and not a parameter: only so the partial index is known to hold all rows that are asked for. */
const onStream = sql`${known.seq} > 0`
const row = sql<number>`${known}.rowid`
const selectBehind = prepareRead((db) =>
  db
    .select({ eventId: known.eventId, seq: known.seq, row })
    .from(known)
    .where(
      and(
        onStream,
        gt(known.seq, placeholder('seq')),
        sql`(${known.seq}, ${row}) < (${placeholder('beforeSeq')}, ${placeholder('beforeRow')})`,
      ),
    )
    .orderBy(sql`${known.seq} DESC, ${row} DESC`)
    .limit(placeholder('limit'))
    .prepare(),
)

const selectRange = prepareRead((db) =>
  db
    .select({ eventId: known.eventId, seq: known.seq })
    .from(known)
    .where(and(onStream, sql`${known.seq} BETWEEN ${placeholder('from')} AND ${placeholder('to')}`))
    .orderBy(known.seq)
    .limit(placeholder('limit'))
    .prepare(),
)

/** Takes an id into the ledger, with the outbox row in which its event waits; false when it was there already. */
export const addKnown = (
  tx: UserTx,
  eventId: string,
  waits: number | null = null,
  mail: number | null = null,
): boolean => insertKnown(tx).run({ id: bytesOf(eventId), waits, mail }).changes > 0

/** The mail of an event that the ledger knows is stored here, in this row. */
export function setMail(tx: UserTx, eventId: string, mail: number): void {
  updateMail(tx).run({ id: bytesOf(eventId), mail })
}

/**
 * Notes where on the stream the event stands. One that waits here waits until `setPublished`.
 * @param mail in which row its mail is stored; null = where the ledger says, if anywhere
 */
export function setKnownSeq(tx: UserTx, eventId: string, seq: number, mail: number | null = null): void {
  upsertKnown(tx).run({ id: bytesOf(eventId), seq, mail })
}

/** The same for many that wait no longer. */
export function setPublished(tx: UserTx, places: readonly { msgId: string; seq: number }[]): void {
  upsertMany(tx).run({ places: JSON.stringify(places.map(({ msgId, seq }) => [msgId, seq])) })
}

/** The event is not on the stream, and waits for it in this outbox row. */
export function setWaiting(tx: UserTx, eventId: string, row: number): void {
  upsertWaiting(tx).run({ id: bytesOf(eventId), row })
}

/** Takes an id out of the ledger: its event is nowhere, and may be published like a new one. */
export function forgetKnown({ db }: UserTx, eventId: string): void {
  db.delete(known)
    .where(eq(known.eventId, bytesOf(eventId)))
    .run()
}

/** The sequence of an event, 0 when it is not on the stream as far as we know; null when the id was never seen. */
export const knownSeq = (reader: UserReader, eventId: string): number | null =>
  selectSeq(reader).get({ id: bytesOf(eventId) })?.seq ?? null

/** A place in the ledger, ordered by sequence. */
type LedgerPlace = { seq: number; row: number }
export const LEDGER_END: LedgerPlace = { seq: Number.MAX_SAFE_INTEGER, row: Number.MAX_SAFE_INTEGER }

/** Ids that are said to stand behind `seq` on the stream, the newest first, from `before` on downwards, at most `limit`. */
export function knownBehind(
  reader: UserReader,
  seq: number,
  before: LedgerPlace,
  limit: number,
): (LedgerPlace & { eventId: string })[] {
  const rows = selectBehind(reader).all({ seq, beforeSeq: before.seq, beforeRow: before.row, limit })
  return rows.map((found) => ({ ...found, eventId: stringify(found.eventId) }))
}

/** Ids that are said to stand on the stream from one sequence to another, in that order, at most `limit`. */
export const knownRange = (
  reader: UserReader,
  from: number,
  to: number,
  limit: number,
): { eventId: string; seq: number }[] =>
  selectRange(reader)
    .all({ from, to, limit })
    .map(({ eventId, seq }) => ({ eventId: stringify(eventId), seq }))
