/** `provider_sync_state`: what an operator reads about one account. Times are epoch seconds. */

import * as v from 'valibot'
import { PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef } from '../base/model.ts'
import { and, eq, sql } from './drizzle.ts'
import { prepareRead, prepareWrite, type UserReader, type UserTx } from './prepared.ts'
import { providerSyncState } from './schema/user.ts'

const LastError = v.object({
  code: v.string(),
  message: v.string(),
  at: v.nullable(v.number()),
  retry_at: v.nullable(v.number()),
  count: v.number(),
})
export type LastError = v.InferOutput<typeof LastError>

const { placeholder } = sql
const keyOf = ({ provider, inboxId }: AccountRef) => ({ provider: PROVIDER_UPPER[provider], inboxId })
const selectState = prepareRead((db) =>
  db
    .select()
    .from(providerSyncState)
    .where(
      and(
        eq(providerSyncState.provider, placeholder('provider')),
        eq(providerSyncState.inboxId, placeholder('inboxId')),
      ),
    )
    .prepare(),
)
const upsertWith = (cursor: { cursor?: ReturnType<typeof sql> }) =>
  prepareWrite((db) =>
    db
      .insert(providerSyncState)
      .values({
        provider: placeholder('provider'),
        inboxId: placeholder('inboxId'),
        cursor: placeholder('cursor'),
        lastSyncedAt: placeholder('lastSyncedAt'),
        status: placeholder('status'),
        lastError: placeholder('lastError'),
        retryCount: placeholder('retryCount'),
        updatedAt: placeholder('updatedAt'),
      })
      .onConflictDoUpdate({
        target: [providerSyncState.provider, providerSyncState.inboxId],
        set: {
          ...cursor,
          lastSyncedAt: sql`excluded.last_synced_at`,
          status: sql`excluded.status`,
          lastError: sql`excluded.last_error`,
          retryCount: sql`excluded.retry_count`,
          updatedAt: sql`excluded.updated_at`,
        },
      })
      .prepare(),
  )
const upsertAll = upsertWith({ cursor: sql`excluded.cursor` })
const upsertButCursor = upsertWith({})

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
export function readSyncState(reader: UserReader, account: AccountRef): SyncState | null {
  const row = selectState(reader).get(keyOf(account))
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
  tx: UserTx,
  account: AccountRef,
  { cursor, lastError, ...state }: Omit<SyncState, 'cursor'> & { cursor?: string | null },
): void {
  const write = cursor === undefined ? upsertButCursor : upsertAll
  write(tx).run({
    ...keyOf(account),
    ...state,
    cursor: cursor ?? null,
    lastError: lastError === null ? null : JSON.stringify(lastError),
  })
}

function parseLastError(text: string | null): LastError | null {
  if (text === null) return null
  try {
    const parsed = v.safeParse(LastError, JSON.parse(text))
    return parsed.success ? parsed.output : null
  } catch {
    return null
  }
}
