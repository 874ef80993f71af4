/** The ledger of exactly-once: each event id ever stored or read from the stream, with its sequence there (0 = none). */

import { parse, stringify } from 'uuid'
import { eq, gt, sql } from './drizzle.ts'
import { prepareRead, prepareWrite, type UserReader, type UserTx } from './prepared.ts'
import { known } from './schema/user.ts'

const { placeholder } = sql
const bytesOf = (eventId: string): Buffer => Buffer.from(parse(eventId))

const insertKnown = prepareWrite((db) =>
  db
    .insert(known)
    .values({ eventId: placeholder('id'), seq: 0 })
    .onConflictDoNothing()
    .prepare(),
)
const upsertKnown = prepareWrite((db) =>
  db
    .insert(known)
    .values({ eventId: placeholder('id'), seq: placeholder('seq') })
    .onConflictDoUpdate({ target: known.eventId, set: { seq: sql`excluded.seq` } })
    .prepare(),
)
const selectSeq = prepareRead((db) =>
  db
    .select({ seq: known.seq })
    .from(known)
    .where(eq(known.eventId, placeholder('id')))
    .prepare(),
)

/** Takes an id into the ledger; false when it was there already. */
export const addKnown = (tx: UserTx, eventId: string): boolean =>
  insertKnown(tx).run({ id: bytesOf(eventId) }).changes > 0

/** Notes where on the stream the event stands. */
export function setKnownSeq(tx: UserTx, eventId: string, seq: number): void {
  upsertKnown(tx).run({ id: bytesOf(eventId), seq })
}

/** The sequence of an event, 0 when it is not on the stream as far as we know; null when the id was never seen. */
export const knownSeq = (reader: UserReader, eventId: string): number | null =>
  selectSeq(reader).get({ id: bytesOf(eventId) })?.seq ?? null

/** Ids that are said to stand behind `seq`, at most `limit`, by sequence. For a stream that went backwards. */
export function knownBehind({ db }: UserReader, seq: number, limit: number): { eventId: string; seq: number }[] {
  const rows = db.select().from(known).where(gt(known.seq, seq)).orderBy(known.seq).limit(limit).all()
  return rows.map((row) => ({ eventId: stringify(row.eventId), seq: row.seq }))
}

/** Forgets all sequences: they belonged to a stream that is gone. */
export function clearKnownSeqs({ db }: UserTx): void {
  db.update(known).set({ seq: 0 }).where(gt(known.seq, 0)).run()
}
