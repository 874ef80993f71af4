/** The one row of `meta`: whose file, which term, how far the user's subject was read. */

import type { Epoch } from '../base/model.ts'
import { sql } from './drizzle.ts'
import { prepareRead, prepareWrite, type UserReader, type UserTx } from './prepared.ts'
import { meta } from './schema/user.ts'

export type Meta = {
  userId: string
  epoch: Epoch
  /** Sequence of the newest message of the user's subject that is known here; 0 = none. */
  lastSeq: number
  /** The event there; null when there is none, or a message that is no event of ours. */
  lastEventId: string | null
  /** Creation time of the stream behind the sequences, epoch ms; null before the first look. */
  streamCreatedMs: number | null
  /** When the stream was last found to be new or to have gone backwards, epoch ms. */
  streamResetMs: number | null
  /** Putting back what the stream has lost was begun and is not over. */
  repairing: boolean
  /** The ledger is being taken over from elsewhere and is not whole yet. */
  rebuilding: boolean
  /** Epoch seconds by account: older mail that a walk finds may have been published and is not published. */
  gaps: Record<string, number>
  /** When it was last certain that everything published is known here, epoch seconds; null = never. */
  coveredS: number | null
}

const { placeholder } = sql

const selectMeta = prepareRead((db) => db.select().from(meta).prepare())
const updateLast = prepareWrite((db) =>
  db
    .update(meta)
    .set({ lastSeq: sql`${placeholder('seq')}`, lastEventId: sql`${placeholder('eventId')}` })
    .prepare(),
)
// Every take-over runs these on a database that has just been opened.
const upsertTerm = prepareWrite((db) =>
  db
    .insert(meta)
    .values({
      userId: placeholder('userId'),
      epochEra: placeholder('era'),
      epochRev: placeholder('rev'),
      rebuilding: placeholder('rebuilding'),
    })
    .onConflictDoUpdate({
      target: meta.userId,
      set: {
        epochEra: sql`excluded.epoch_era`,
        epochRev: sql`excluded.epoch_rev`,
        rebuilding: sql`${meta.rebuilding} OR excluded.rebuilding`,
      },
    })
    .prepare(),
)
const updateStream = prepareWrite((db) =>
  db
    .update(meta)
    .set({ streamCreatedMs: sql`${placeholder('createdMs')}` })
    .prepare(),
)
const updateRebuilt = prepareWrite((db) =>
  db
    .update(meta)
    .set({ rebuilding: false, gaps: sql`${placeholder('gaps')}` })
    .prepare(),
)
const resetLast = prepareWrite((db) =>
  db.update(meta).set({ lastSeq: 0, lastEventId: null, streamCreatedMs: null, coveredS: null }).prepare(),
)
const updateCovered = prepareWrite((db) =>
  db
    .update(meta)
    .set({ coveredS: sql`${placeholder('coveredS')}` })
    .prepare(),
)

/** The row, or null when the file has none: made, but never adopted. */
export function readMeta(reader: UserReader): Meta | null {
  const row = selectMeta(reader).get()
  if (row === undefined) return null
  return {
    userId: row.userId,
    epoch: { era: row.epochEra, rev: row.epochRev },
    lastSeq: row.lastSeq,
    lastEventId: row.lastEventId,
    streamCreatedMs: row.streamCreatedMs,
    streamResetMs: row.streamResetMs,
    repairing: row.repairing,
    rebuilding: row.rebuilding,
    gaps: row.gaps ?? {},
    coveredS: row.coveredS,
  }
}

/** The newest message of the subject that is now accounted for. */
export function setLast(tx: UserTx, last: { seq: number; eventId: string | null }): void {
  updateLast(tx).run(last)
}

/** The stream that sequences belong to from now on, epoch ms. */
export function setStreamCreated(tx: UserTx, createdMs: number): void {
  updateStream(tx).run({ createdMs })
}

/** From now on, and until `endRepair`, sequences of the ledger may be neither the old ones nor the new ones. */
export function beginRepair(tx: UserTx): void {
  tx.db.update(meta).set({ repairing: true }).run()
}

/** Notes that the stream was found to be new or to have gone backwards, and that the ledger is right again. */
export function endRepair(tx: UserTx, atMs: number): void {
  tx.db.update(meta).set({ streamResetMs: atMs, repairing: false }).run()
}

/** Writes the term; the caller has compared it. @param rebuilding from here on the file is no base, until `endRebuild`. */
export function setEpoch(tx: UserTx, epoch: Epoch, rebuilding: boolean): void {
  upsertTerm(tx).run({ userId: tx.userId, ...epoch, rebuilding })
}

/** Nothing that a half taken over ledger says of the stream counts: the subject is read from its start. */
export function startRebuild(tx: UserTx): void {
  resetLast(tx).run()
}

/** The ledger is as whole as it can be made. Gaps (epoch s by account) that were there already stay. */
export function endRebuild(tx: UserTx, gaps: Record<string, number>): void {
  const all = { ...readMeta(tx)?.gaps, ...gaps }
  updateRebuilt(tx).run({ gaps: Object.keys(all).length === 0 ? null : JSON.stringify(all) })
}

/** Everything that was published up to this moment (epoch s) is known here. */
export function setCovered(tx: UserTx, coveredS: number): void {
  updateCovered(tx).run({ coveredS })
}
