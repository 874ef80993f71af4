/** A user store in a temporary folder, and mails to put into it. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { createLog } from '#shared/log.ts'
import type { AccountRef, Epoch, MessageMeta } from '../../../services/mail/base/model.ts'
import { migrate, queryBuilder } from '../../../services/mail/store/query-builder.ts'
import { type UserReader, UserStore } from '../../../services/mail/store/user-store.ts'

export const EPOCH: Epoch = { era: 1000, rev: 1 }
export const ACCOUNT: AccountRef = { userId: 'ada', provider: 'google', inboxId: 'primary' }

export const mail = (id: string, more: Partial<MessageMeta> = {}): MessageMeta => ({
  id,
  threadId: `t-${id}`,
  msgDate: 1_700_000_000,
  subject: `Subject ${id}`,
  sender: 'sender@example.com',
  to: ['ada@example.com'],
  cc: [],
  bcc: [],
  snippet: 'Hello',
  headers: { Subject: `Subject ${id}` },
  labels: ['INBOX'],
  ...more,
})

export const mails = (prefix: string, n: number): MessageMeta[] =>
  Array.from({ length: n }, (_, i) => mail(`${prefix}${String(i).padStart(4, '0')}`))

const numbersOf = ({ db }: UserReader, text: string): number[] =>
  (Reflect.get(db, '$client') as SqliteDatabase.Database).prepare<[], number>(text).pluck().all()

const MISNAMED = `
  SELECT o.id FROM outbox o LEFT JOIN known k ON k.event_id = unhex(o.msg_id, '-')
    WHERE o.published_at IS NULL AND k.waits IS NOT o.id
  UNION
  SELECT k.waits FROM known k LEFT JOIN outbox o ON o.id = k.waits
    WHERE k.waits IS NOT NULL AND (o.published_at IS NOT NULL OR unhex(o.msg_id, '-') IS NOT k.event_id)`

/** Rows of the outbox that wait and that the ledger does not name, and those that it names and that do not wait for that event. */
export const misnamedRows = (reader: UserReader): number[] => numbersOf(reader, MISNAMED)

const MISNAMED_MAILS = `
  SELECT e.rowid FROM email_received_events e LEFT JOIN known k ON k.event_id = unhex(e.event_id, '-')
    WHERE k.mail IS NOT e.rowid
  UNION
  SELECT k.mail FROM known k LEFT JOIN email_received_events e ON e.rowid = k.mail
    WHERE k.mail IS NOT NULL AND unhex(e.event_id, '-') IS NOT k.event_id`

/** Rows of mails that the ledger does not name for their events, and those that it names for others or that are not there. */
export const misnamedMails = (reader: UserReader): number[] => numbersOf(reader, MISNAMED_MAILS)

export type StoreBox = { dataDir: string; store: UserStore; [Symbol.asyncDispose](): Promise<void> }

/** A store with nothing in it; the folder is removed at the end. */
export function storeBox(): StoreBox {
  const dataDir = mkdtempSync(join(tmpdir(), 'mail-sync-store-'))
  const store = new UserStore({ dataDir, log: createLog('test', 'silent') })
  return {
    dataDir,
    store,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      rmSync(dataDir, { recursive: true })
    },
  }
}

const MIGRATIONS = join(import.meta.dirname, '../../../migrations/user')

/** The database of `ada` as an older version has left it, that knew so many migrations. @param fill puts something into it */
export function olderFile(box: StoreBox, migrations: number, fill: (sqlite: SqliteDatabase.Database) => void): void {
  const folder = join(box.dataDir, 'migrations')
  cpSync(MIGRATIONS, folder, { recursive: true })
  const journal = join(folder, 'meta/_journal.json')
  const { entries, ...rest } = JSON.parse(readFileSync(journal, 'utf8'))
  writeFileSync(journal, JSON.stringify({ ...rest, entries: entries.slice(0, migrations) }))
  const file = box.store.fileOf(ACCOUNT.userId)
  mkdirSync(dirname(file), { recursive: true })
  const sqlite = new SqliteDatabase(file)
  migrate(queryBuilder(sqlite), folder)
  sqlite.pragma(`user_version = ${migrations}`)
  sqlite
    .prepare('INSERT INTO meta (user_id, epoch_era, epoch_rev) VALUES (?, ?, ?)')
    .run(ACCOUNT.userId, EPOCH.era, EPOCH.rev)
  sqlite.transaction(() => fill(sqlite))()
  sqlite.close()
}
