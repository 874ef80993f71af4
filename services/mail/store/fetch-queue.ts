/**
 * Ids of messages that still have to be fetched. An entry is told by its `seq`, which is never used twice:
 * a message that was enqueued again while it was fetched stays in the queue.
 */

import { PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef } from '../base/model.ts'
import { and, asc, count, eq, lte, sql } from './drizzle.ts'
import { prunePages } from './pages.ts'
import { prepareRead, prepareWrite, type UserReader, type UserTx } from './prepared.ts'
import { fetchQueue as q } from './schema/user.ts'

type Reason = 'missing' | 'refused' | 'unreadable' | 'unavailable'
/** `reason` of the last attempt; null before the first. */
export type Taken = {
  id: string
  seq: number
  attempts: number
  reason: string | null
  urgent: boolean
  /** The page that listed it; null = not known. */
  listedBy: number | null
}
export type QueueDepth = {
  entries: number
  /** Entries that were never tried. */
  waiting: number
  /** Those of them that go before all others. */
  urgent: number
  /** Entries that were tried in vain. One that the provider does not find is probably deleted: counted from `LOST_ATTEMPTS` on. */
  setAside: number
  /** When the next failed entry is due, epoch ms (in the past when one is due now); null when none has failed. */
  nextAtMs: number | null
  /** The same of the failed entries that are urgent. */
  nextUrgentAtMs: number | null
}
export const EMPTY_QUEUE: QueueDepth = {
  entries: 0,
  waiting: 0,
  urgent: 0,
  setAside: 0,
  nextAtMs: null,
  nextUrgentAtMs: null,
}
export type Failure = {
  id: string
  seq: number
  reason: Reason
  /** Status and code of the provider's answer; null = it had neither. */
  error: string | null
  attempts: number
  nextAtMs: number
}

/** So often is a message not found before it counts as deleted; one that is in the queue after that is a riddle. */
export const LOST_ATTEMPTS = 4
/** What may be over in a moment keeps its place before all others; what is wrong with the message itself does not. */
const KEEPS_URGENT: ReadonlySet<Reason> = new Set(['missing', 'unavailable'])

const { placeholder } = sql
const keyOf = (account: AccountRef) => ({ provider: PROVIDER_UPPER[account.provider], inboxId: account.inboxId })
const ofAccount = and(eq(q.provider, placeholder('provider')), eq(q.inboxId, placeholder('inboxId')))
const ofIds = sql`${q.providerMessageId} IN (SELECT value FROM json_each(${placeholder('ids')}))`

const listedBy = { listedBy: q.listedBy }
/** One statement for a page, which may be 500 ids. Fields in the order of the table; WHERE tells SQLite that no ON of a join follows. */
const newRows = sql`SELECT NULL, ${placeholder('provider')}, ${placeholder('inboxId')}, value, 0, NULL, NULL, 0,
  ${placeholder('urgent')}, ${placeholder('listedBy')} FROM json_each(${placeholder('ids')}) WHERE true`
const insertNew = prepareWrite((db) => db.insert(q).select(newRows).onConflictDoNothing().prepare())
const deleteIds = prepareWrite((db) => db.delete(q).where(and(ofAccount, ofIds)).returning(listedBy).prepare())
const ofSeqs = sql`${q.seq} IN (SELECT value FROM json_each(${placeholder('seqs')}))`
const deleteSeqs = prepareWrite((db) => db.delete(q).where(ofSeqs).returning(listedBy).prepare())
const selectDue = prepareRead((db) =>
  db
    .select({
      id: q.providerMessageId,
      seq: q.seq,
      attempts: q.attempts,
      reason: q.reason,
      urgent: q.urgent,
      ...listedBy,
    })
    .from(q)
    .where(and(ofAccount, eq(q.urgent, placeholder('urgent')), lte(q.nextAtMs, placeholder('nowMs'))))
    .orderBy(asc(q.seq))
    .limit(placeholder('limit'))
    .prepare(),
)
const selectIds = prepareRead((db) =>
  db.select({ id: q.providerMessageId }).from(q).where(and(ofAccount, ofIds)).prepare(),
)
const selectFirst = prepareRead((db) => db.select({ seq: q.seq }).from(q).where(ofAccount).limit(1).prepare())
const selectEntries = prepareRead((db) => db.select({ n: count() }).from(q).where(ofAccount).prepare())
/** Written as in its index, which holds few rows: the whole of the queue may be a mailbox. */
const isSpecial = sql`(attempts > 0 OR urgent)`
const selectSpecial = prepareRead((db) =>
  db
    .select({
      failed: sql<number>`coalesce(sum(${q.attempts} > 0), 0)`,
      urgent: sql<number>`coalesce(sum(${q.attempts} = 0 AND ${q.urgent}), 0)`,
      setAside: sql<number>`coalesce(sum(${q.attempts} > 0 AND (${q.reason} <> 'missing' OR ${q.attempts} >= ${LOST_ATTEMPTS})), 0)`,
      nextAtMs: sql<number | null>`min(CASE WHEN ${q.attempts} > 0 THEN ${q.nextAtMs} END)`,
      nextUrgentAtMs: sql<number | null>`min(CASE WHEN ${q.attempts} > 0 AND ${q.urgent} THEN ${q.nextAtMs} END)`,
    })
    .from(q)
    .where(and(ofAccount, isSpecial))
    .prepare(),
)

/**
 * Appends ids in their order. Urgent ones go before all others and replace a waiting entry of the same id;
 * an id that is not urgent and waits already keeps its place.
 * @param options `listedBy`: the page that named them
 * @returns how many entries were written, and how many of those were there before
 */
export function enqueue(
  tx: UserTx,
  account: AccountRef,
  ids: readonly string[],
  { urgent, listedBy = null }: { urgent: boolean; listedBy?: number | null },
): { written: number; replaced: number } {
  if (ids.length === 0) return { written: 0, replaced: 0 }
  const replaced = urgent ? remove(tx, account, ids) : 0
  const entries = { ids: JSON.stringify(ids), urgent: urgent ? 1 : 0, listedBy }
  return { written: insertNew(tx).run({ ...keyOf(account), ...entries }).changes, replaced }
}

/** The entries that are due, urgent ones first, then in order. They stay in the queue until `finish`. */
export function take(reader: UserReader, account: AccountRef, nowMs: number, limit: number): Taken[] {
  const key = keyOf(account)
  const urgent = selectDue(reader).all({ ...key, nowMs, urgent: 1, limit })
  if (urgent.length >= limit) return urgent
  return urgent.concat(selectDue(reader).all({ ...key, nowMs, urgent: 0, limit: limit - urgent.length }))
}

/** Removes what was taken, except entries that were enqueued again in the meantime. Returns how many it removed. */
export function finish(tx: UserTx, _account: AccountRef, taken: readonly { seq: number }[]): number {
  if (taken.length === 0) return 0
  return removed(tx, deleteSeqs(tx).all({ seqs: JSON.stringify(taken.map(({ seq }) => seq)) }))
}

/** Removes ids however often they were enqueued: they need no longer be fetched. Returns how many it removed. */
export function remove(tx: UserTx, account: AccountRef, ids: readonly string[]): number {
  if (ids.length === 0) return 0
  return removed(tx, deleteIds(tx).all({ ...keyOf(account), ids: JSON.stringify(ids) }))
}

function removed(tx: UserTx, entries: readonly { listedBy: number | null }[]): number {
  prunePages(
    tx,
    entries.map((entry) => entry.listedBy),
  )
  return entries.length
}

/** Sets one taken entry aside until `nextAtMs`; nothing happens when it was enqueued again in the meantime. */
export function fail(tx: UserTx, _account: AccountRef, entry: Failure): void {
  const { attempts, reason, error, nextAtMs } = entry
  tx.db
    .update(q)
    .set({ attempts, reason, error, nextAtMs, ...(!KEEPS_URGENT.has(reason) && { urgent: false }) })
    .where(eq(q.seq, entry.seq))
    .run()
}

/** Which of these ids wait in the queue. */
export function queuedIds(reader: UserReader, account: AccountRef, ids: readonly string[]): Set<string> {
  if (ids.length === 0) return new Set()
  const rows = selectIds(reader).all({ ...keyOf(account), ids: JSON.stringify(ids) })
  return new Set(rows.map(({ id }) => id))
}

/** Counts all entries: in a backfill that is a whole mailbox, and not for every page. */
export const queueDepth = (reader: UserReader, account: AccountRef): QueueDepth =>
  depthOf(reader, account, queueEntries(reader, account))

/** The same when it is known how many entries there are. */
export function depthOf(reader: UserReader, account: AccountRef, entries: number): QueueDepth {
  const found = selectSpecial(reader).get(keyOf(account))
  if (found === undefined) return EMPTY_QUEUE
  const { failed, ...special } = found
  return { entries, waiting: entries - failed, ...special }
}

/** Whether anything of the account waits in the queue. */
export const hasQueued = (reader: UserReader, account: AccountRef): boolean =>
  selectFirst(reader).get(keyOf(account)) !== undefined

const queueEntries = (reader: UserReader, account: AccountRef): number =>
  selectEntries(reader).get(keyOf(account))?.n ?? 0
