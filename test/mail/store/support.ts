/** A user store in a temporary folder, and mails to put into it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLog } from '#shared/log.ts'
import type { AccountRef, Epoch, MessageMeta } from '../../../services/mail/base/model.ts'
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

type Client = { prepare(text: string): { pluck(): { all(): number[] } } }
const MISNAMED = `
  SELECT o.id FROM outbox o LEFT JOIN known k ON k.event_id = unhex(o.msg_id, '-')
    WHERE o.published_at IS NULL AND k.waits IS NOT o.id
  UNION
  SELECT k.waits FROM known k LEFT JOIN outbox o ON o.id = k.waits
    WHERE k.waits IS NOT NULL AND (o.published_at IS NOT NULL OR unhex(o.msg_id, '-') IS NOT k.event_id)`

/** Rows of the outbox that wait and that the ledger does not name, and those that it names and that do not wait for that event. */
export const misnamedRows = ({ db }: UserReader): number[] =>
  (Reflect.get(db, '$client') as Client).prepare(MISNAMED).pluck().all()

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
