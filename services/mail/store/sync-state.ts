/** `provider_sync_state`: what an operator reads about one account. Times are epoch seconds. */

import * as v from 'valibot'
import { PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef } from '../base/model.ts'
import { and, eq } from './drizzle.ts'
import type { UserReader, UserTx } from './prepared.ts'
import { providerSyncState } from './schema/user.ts'

const LastError = v.object({
  code: v.string(),
  message: v.string(),
  at: v.nullable(v.number()),
  retry_at: v.nullable(v.number()),
  count: v.number(),
})
export type LastError = v.InferOutput<typeof LastError>

export type SyncState = {
  /** Incremental cursor: Gmail historyId, Graph deltaLink of `folders`. */
  cursor: string | null
  lastSyncedAt: number | null
  status: string
  lastError: LastError | null
  retryCount: number
  updatedAt: number
}

/** The account's row; null before the first write. A `last_error` that cannot be read counts as none. */
export function readSyncState({ db }: UserReader, account: AccountRef): SyncState | null {
  const row = db.select().from(providerSyncState).where(ofAccount(account)).get()
  if (row === undefined) return null
  return {
    cursor: row.cursor,
    lastSyncedAt: row.lastSyncedAt,
    status: row.status ?? '',
    lastError: parseLastError(row.lastError),
    retryCount: row.retryCount ?? 0,
    updatedAt: row.updatedAt ?? 0,
  }
}

/** Writes the row; without `cursor` the one that stands there stays. */
export function putSyncState(
  { db }: UserTx,
  account: AccountRef,
  { cursor, lastError, ...state }: Omit<SyncState, 'cursor'> & { cursor?: string | null },
): void {
  const set = {
    ...state,
    lastError: lastError === null ? null : JSON.stringify(lastError),
    ...(cursor === undefined ? {} : { cursor }),
  }
  db.insert(providerSyncState)
    .values({ provider: PROVIDER_UPPER[account.provider], inboxId: account.inboxId, ...set })
    .onConflictDoUpdate({ target: [providerSyncState.provider, providerSyncState.inboxId], set })
    .run()
}

const ofAccount = (account: AccountRef) =>
  and(eq(providerSyncState.provider, PROVIDER_UPPER[account.provider]), eq(providerSyncState.inboxId, account.inboxId))

function parseLastError(text: string | null): LastError | null {
  if (text === null) return null
  try {
    const parsed = v.safeParse(LastError, JSON.parse(text))
    return parsed.success ? parsed.output : null
  } catch {
    return null
  }
}
