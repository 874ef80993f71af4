/** The database of both pipelines: events, outbox and a position, in one file for each user, as durable as the service's. */

import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { blob, integer, sqliteTable, text } from '../../../services/mail/store/drizzle.ts'

export const events = sqliteTable('email_received_events', {
  eventId: text('event_id').primaryKey(),
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
})

export const outbox = sqliteTable('outbox', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  ts: integer('ts').notNull(),
  subject: text('subject').notNull(),
  eventType: text('event_type').notNull(),
  payload: blob('payload', { mode: 'buffer' }).notNull(),
  msgId: text('msg_id').notNull(),
  publishedAt: integer('published_at'),
  streamSeq: integer('stream_seq'),
})

const DDL = `
  CREATE TABLE email_received_events (
    event_id TEXT PRIMARY KEY, ts INTEGER NOT NULL, msg_date INTEGER, provider TEXT NOT NULL, inbox_id TEXT NOT NULL,
    user_id TEXT NOT NULL, provider_message_id TEXT NOT NULL, provider_thread_id TEXT, subject TEXT, sender TEXT,
    to_addrs TEXT, cc_addrs TEXT, bcc_addrs TEXT, snippet TEXT, headers_json TEXT, labels_json TEXT
  );
  CREATE UNIQUE INDEX email_by_provider_id ON email_received_events (provider, inbox_id, provider_message_id);
  CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER NOT NULL, subject TEXT NOT NULL, event_type TEXT NOT NULL,
    payload BLOB NOT NULL, msg_id TEXT NOT NULL, published_at INTEGER, stream_seq INTEGER
  );
  CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
  CREATE TABLE provider_sync_state (provider TEXT PRIMARY KEY, cursor TEXT);
`

export function openTables(file: string): SqliteDatabase.Database {
  mkdirSync(dirname(file), { recursive: true })
  const sqlite = new SqliteDatabase(file)
  sqlite.pragma('journal_mode = WAL')
  sqlite.pragma('synchronous = NORMAL')
  sqlite.exec(DDL)
  return sqlite
}
