/** A user store in a temporary folder, and mails to put into it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLog } from '#shared/log.ts'
import type { AccountRef, Epoch, MessageMeta } from '../../../services/mail/base/model.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'

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
