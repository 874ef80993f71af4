/**
 * What the database knows of one message of an account: its row, ledger, outbox, queue, and the pages it came from; and the
 * messages that are set aside. For a person who asks: nothing of it is read while mail is fetched. It writes nothing.
 */

import { eventId, PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef } from '../base/model.ts'
import { and, asc, desc, eq, sql } from './drizzle.ts'
import { LOST_ATTEMPTS } from './fetch-queue.ts'
import { knownSeq } from './known.ts'
import { readLanes } from './lanes.ts'
import { ofProviderId } from './mail-row.ts'
import { readMeta } from './meta.ts'
import { rowOf } from './outbox-rows.ts'
import { type PageOrigin, readPage } from './pages.ts'
import { prepareRead, type UserReader } from './prepared.ts'
import { emailReceivedEvents as e, outbox as o, fetchQueue as q } from './schema/user.ts'

/** One page of a provider, which is one transaction. */
export type TracedPage = PageOrigin & { id: number }
export type TracedEntry = {
  id: string
  attempts: number
  reason: string | null
  /** Status and code of the provider's last answer. */
  error: string | null
  /** Epoch ms; 0 = now. */
  nextAtMs: number
  urgent: boolean
  isSetAside: boolean
  listedBy: TracedPage | null
}
export type TracedOutbox = {
  id: number
  /** Epoch seconds; null = it waits. */
  publishedAt: number | null
  retries: number
  nextAttemptMs: number
}
export type Trace = {
  eventId: string
  /** Epoch seconds of storing; null = there is no row. */
  storedAt: number | null
  page: TracedPage | null
  listedBy: TracedPage | null
  outbox: TracedOutbox | null
  /** Sequence on the stream as the ledger has it, 0 = not on it; null = the event was never seen. */
  seq: number | null
  /** Newest message of the user's subject that is accounted for. */
  lastSeq: number
  queued: TracedEntry | null
  /** Lanes whose walk has not reached its end. */
  openLanes: string[]
}

const { placeholder } = sql
const isSetAside = sql<number>`(${q.attempts} > 0 AND (${q.reason} <> 'missing' OR ${q.attempts} >= ${LOST_ATTEMPTS}))`
const ofAccount = and(eq(q.provider, placeholder('provider')), eq(q.inboxId, placeholder('inboxId')))
const entry = {
  id: q.providerMessageId,
  attempts: q.attempts,
  reason: q.reason,
  error: q.error,
  nextAtMs: q.nextAtMs,
  urgent: q.urgent,
  isSetAside: sql<number>`${isSetAside}`,
  listedBy: q.listedBy,
}
const selectEntry = prepareRead((db) =>
  db
    .select(entry)
    .from(q)
    .where(and(ofAccount, eq(q.providerMessageId, placeholder('id'))))
    .prepare(),
)
const selectSetAside = prepareRead((db) =>
  db
    .select(entry)
    .from(q)
    .where(and(ofAccount, isSetAside))
    .orderBy(asc(q.nextAtMs), asc(q.seq))
    .limit(placeholder('limit'))
    .prepare(),
)
const selectRow = prepareRead((db) =>
  db.select({ ts: e.ts, pageId: e.pageId, listedBy: e.listedBy }).from(e).where(ofProviderId).prepare(),
)
const outboxRow = { id: o.id, publishedAt: o.publishedAt, retries: o.retries, nextAttemptMs: o.nextAttemptMs }
const selectOutbox = prepareRead((db) =>
  db
    .select(outboxRow)
    .from(o)
    .where(eq(o.id, placeholder('id')))
    .prepare(),
)

/** Reads the whole outbox, as only a person may ask for: a row may stand elsewhere than the ledger says, after the stream was lost. */
const searchOutbox = prepareRead((db) =>
  db
    .select(outboxRow)
    .from(o)
    .where(eq(o.msgId, placeholder('msgId')))
    .orderBy(desc(o.id))
    .limit(1)
    .prepare(),
)

const keyOf = (account: AccountRef) => ({ provider: PROVIDER_UPPER[account.provider], inboxId: account.inboxId })

/** Everything that is known of a message by its id at the provider. */
export function traceOf(reader: UserReader, account: AccountRef, id: string): Trace {
  const key = keyOf(account)
  const event = eventId(account.userId, key.provider, key.inboxId, id)
  const row = selectRow(reader).get({ ...key, id })
  const outbox = selectOutbox(reader).get({ id: rowOf(reader, event) }) ?? searchOutbox(reader).get({ msgId: event })
  const queued = selectEntry(reader).get({ ...key, id })
  return {
    eventId: event,
    storedAt: row?.ts ?? null,
    page: readPage(reader, row?.pageId ?? null),
    listedBy: readPage(reader, row?.listedBy ?? null),
    outbox: outbox === undefined ? null : { ...outbox, retries: outbox.retries ?? 0 },
    seq: knownSeq(reader, event),
    lastSeq: readMeta(reader)?.lastSeq ?? 0,
    queued: queued === undefined ? null : entryOf(reader, queued),
    openLanes: readLanes(reader, account).flatMap(({ lane, done }) => (done ? [] : [lane])),
  }
}

/** The messages that `QueueDepth.setAside` counts, those that are tried next first, at most `limit`. */
export const setAsideEntries = (reader: UserReader, account: AccountRef, limit: number): TracedEntry[] =>
  selectSetAside(reader)
    .all({ ...keyOf(account), limit })
    .map((row) => entryOf(reader, row))

type EntryRow = Omit<TracedEntry, 'isSetAside' | 'listedBy'> & { isSetAside: number; listedBy: number | null }

const entryOf = (reader: UserReader, row: EntryRow): TracedEntry => ({
  ...row,
  isSetAside: row.isSetAside === 1,
  listedBy: readPage(reader, row.listedBy),
})
