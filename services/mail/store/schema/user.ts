/**
 * Tables of one user's events.db. drizzle-kit writes the migrations from this file; nothing else creates a table.
 * Times of the published columns are epoch seconds; columns of our own end in `_ms`. Lists and maps are JSON text.
 */
import { blob, index, integer, primaryKey, sql, sqliteTable, text, uniqueIndex } from '../drizzle.ts'

/** The one row that says whose file this is, which term may write, and up to where the stream was read. */
export const meta = sqliteTable('meta', {
  userId: text('user_id').primaryKey(),
  epochEra: integer('epoch_era').notNull(),
  epochRev: integer('epoch_rev').notNull(),
  /** Sequence of the newest message of the user's subject that we know; 0 = there is none. */
  lastSeq: integer('last_seq').notNull().default(0),
  /** What stands there; null when nothing does, or something that is no event of ours. */
  lastEventId: text('last_event_id'),
  /** Creation time of the stream that the sequences belong to. */
  streamCreatedMs: integer('stream_created_ms'),
  /** When the stream was last found to be new or to have gone backwards. */
  streamResetMs: integer('stream_reset_ms'),
  /** What the stream has lost is being put back, and the walk through `known` is not over. */
  repairing: integer('repairing', { mode: 'boolean' }).notNull().default(false),
  /** The ledger is being taken over from elsewhere and is not whole yet: the file is no base for anything. */
  rebuilding: integer('rebuilding', { mode: 'boolean' }).notNull().default(false),
  /** Epoch seconds by account, as JSON: what a walk finds and is older may have been published, and is not published. */
  gaps: text('gaps', { mode: 'json' }).$type<Record<string, number>>(),
  /** Epoch seconds when it was last certain that everything published is known here. */
  coveredS: integer('covered_s'),
})

export const providerSyncState = sqliteTable(
  'provider_sync_state',
  {
    provider: text('provider').notNull(),
    inboxId: text('inbox_id').notNull(),
    cursor: text('cursor'),
    lastSyncedAt: integer('last_synced_at'),
    status: text('status'),
    lastError: text('last_error'),
    retryCount: integer('retry_count').default(0),
    updatedAt: integer('updated_at'),
  },
  (table) => [primaryKey({ columns: [table.provider, table.inboxId] })],
)

export const emailReceivedEvents = sqliteTable(
  'email_received_events',
  {
    /** Follows from user, provider, inbox and provider id. Without an index: they are in no order, and `known` names the row of a mail. */
    eventId: text('event_id').notNull(),
    ts: integer('ts').notNull(),
    msgDate: integer('msg_date'),
    provider: text('provider').notNull(),
    inboxId: text('inbox_id').notNull(),
    userId: text('user_id').notNull(),
    providerMessageId: text('provider_message_id').notNull(),
    providerThreadId: text('provider_thread_id'),
    subject: text('subject'),
    sender: text('sender'),
    toAddrs: text('to_addrs'),
    ccAddrs: text('cc_addrs'),
    bccAddrs: text('bcc_addrs'),
    snippet: text('snippet'),
    headersJson: text('headers_json'),
    labelsJson: text('labels_json'),
    /** Names of the fields that were cut; null when none was. */
    truncatedJson: text('truncated_json'),
    /** The page that stored it, and the one that listed its id before; null = not known: older, or learned from the stream. */
    pageId: integer('page_id'),
    listedBy: integer('listed_by'),
  },
  (table) => [uniqueIndex('email_by_provider_id').on(table.provider, table.inboxId, table.providerMessageId)],
)

/** Every event id that was ever stored or read from the stream: the ledger of exactly-once. */
export const known = sqliteTable(
  'known',
  {
    /** The 16 bytes of the UUID. */
    eventId: blob('event_id', { mode: 'buffer' }).primaryKey(),
    /** Sequence on the stream; 0 = not on it as far as we know. */
    seq: integer('seq').notNull(),
    /** The outbox row in which the event waits; null = it does not wait. Written with that row, in the same transaction. */
    waits: integer('waits'),
    /** The mail's rowid in `email_received_events`; null = it is not stored here. Written with that row, in the same transaction. */
    mail: integer('mail'),
  },
  (table) => [index('known_by_seq').on(table.seq).where(sql`seq > 0`)],
)

export const outbox = sqliteTable(
  'outbox',
  {
    id: integer('id').primaryKey({ autoIncrement: true }),
    ts: integer('ts').notNull(),
    subject: text('subject').notNull(),
    eventType: text('event_type').notNull(),
    payload: blob('payload', { mode: 'buffer' }).notNull(),
    msgId: text('msg_id').notNull(),
    publishedAt: integer('published_at'),
    retries: integer('retries').default(0),
    nextAttemptAt: integer('next_attempt_at'),
    tsMs: integer('ts_ms').notNull(),
    nextAttemptMs: integer('next_attempt_ms').notNull().default(0),
    streamSeq: integer('stream_seq'),
    /** Of the payload: SQLite does not notice bit rot. */
    sha256: blob('sha256', { mode: 'buffer' }).notNull(),
  },
  (table) => [
    index('outbox_unpublished').on(table.id).where(sql`published_at IS NULL`),
    // None of event ids: they are in no order, so that each row would write a page of its own. `known` names the row that waits.
    index('outbox_by_stream_seq').on(table.streamSeq).where(sql`stream_seq > 0`),
  ],
)

export const syncLanes = sqliteTable(
  'sync_lanes',
  {
    provider: text('provider').notNull(),
    inboxId: text('inbox_id').notNull(),
    lane: text('lane').notNull(),
    cursor: text('cursor'),
    done: integer('done', { mode: 'boolean' }).notNull(),
    notBeforeMs: integer('not_before_ms').notNull(),
    failures: integer('failures').notNull(),
    syncedMs: integer('synced_ms').notNull(),
    resets: integer('resets').notNull(),
    resetMs: integer('reset_ms').notNull(),
  },
  (table) => [primaryKey({ columns: [table.provider, table.inboxId, table.lane] })],
)

/**
 * Pages of a provider that stored a mail or listed an id: where each of them came from. One row for each transaction; all but
 * the last one of a large page have its `cursor` as `next_cursor`.
 */
export const pages = sqliteTable('pages', {
  id: integer('id').primaryKey(),
  provider: text('provider').notNull(),
  inboxId: text('inbox_id').notNull(),
  lane: text('lane').notNull(),
  /** What the page was asked with, and where the lane stood after it. */
  cursor: text('cursor'),
  nextCursor: text('next_cursor'),
  epochEra: integer('epoch_era').notNull(),
  epochRev: integer('epoch_rev').notNull(),
  atMs: integer('at_ms').notNull(),
  /** A stored mail names the page: it is never deleted. */
  kept: integer('kept', { mode: 'boolean' }).notNull().default(false),
})

export const fetchQueue = sqliteTable(
  'fetch_queue',
  {
    /** Never used twice, so that a message enqueued again is told from the one that was taken. */
    seq: integer('seq').primaryKey({ autoIncrement: true }),
    provider: text('provider').notNull(),
    inboxId: text('inbox_id').notNull(),
    providerMessageId: text('provider_message_id').notNull(),
    attempts: integer('attempts').notNull().default(0),
    /** Why the last attempt brought nothing: missing, refused, unreadable, unavailable; null before the first. */
    reason: text('reason'),
    /** HTTP status and code of the provider's last answer, as far as it had them. */
    error: text('error'),
    nextAtMs: integer('next_at_ms').notNull().default(0),
    urgent: integer('urgent', { mode: 'boolean' }).notNull(),
    /** The page that listed the id; null = not known. */
    listedBy: integer('listed_by'),
  },
  (table) => [
    uniqueIndex('fetch_queue_by_provider_id').on(table.provider, table.inboxId, table.providerMessageId),
    index('fetch_queue_order').on(table.provider, table.inboxId, table.urgent, table.seq),
    // What was tried in vain and what is urgent: few among all that wait.
    index('fetch_queue_special').on(table.provider, table.inboxId).where(sql`(attempts > 0 OR urgent)`),
  ],
)

/** One row for each account: the audit that runs, or the last one, and the proof of completeness. Columns are those of `Audit`. */
export const audits = sqliteTable(
  'audits',
  {
    provider: text('provider').notNull(),
    inboxId: text('inbox_id').notNull(),
    startedMs: integer('started_ms'),
    finishedMs: integer('finished_ms'),
    passes: integer('passes').notNull(),
    missing: integer('missing').notNull(),
    extra: integer('extra').notNull(),
    twice: integer('twice').notNull(),
    absent: integer('absent').notNull(),
    gone: integer('gone'),
    providerTotal: integer('provider_total'),
    cost: integer('cost').notNull(),
    findings: text('findings', { mode: 'json' }).$type<
      { what: 'missing' | 'extra' | 'twice' | 'absent'; eventId: string | null; seq: number | null }[]
    >(),
    provenMs: integer('proven_ms'),
  },
  (table) => [primaryKey({ columns: [table.provider, table.inboxId] })],
)

/** Mails that the audit which runs was shown by the provider: their rowids in `email_received_events`. */
export const audited = sqliteTable('audited', { mail: integer('mail').primaryKey() })
