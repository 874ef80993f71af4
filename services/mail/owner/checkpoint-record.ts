/**
 * What a checkpoint says after the one before it: of the snapshots, that they still cover all, or since when none does; and
 * what it says of one account. Pure.
 */
import { type AccountRef, stateName } from '../base/model.ts'
import type { CheckpointRecord, SnapshotPointer } from '../kv/checkpoint.ts'
import type { AccountState } from '../sync/account-state.ts'

/** Up to where the user's subject is known, and of which stream. */
export type Known = Pick<CheckpointRecord, 'pub' | 'pubEventId' | 'streamCreatedMs' | 'gaps'>
/** `ts`: now, epoch seconds. */
type News = Pick<CheckpointRecord, 'lanes' | 'lanesEpoch' | 'newsMs' | 'accounts' | 'ts'>

export function nextRecord(
  before: CheckpointRecord,
  { pub, pubEventId, streamCreatedMs, gaps }: Known,
  news: News,
): CheckpointRecord {
  const covers = (pointer: SnapshotPointer): boolean =>
    pointer.streamCreatedMs === streamCreatedMs && pointer.last >= pub
  const snapshots = before.snapshots.map((pointer) => (covers(pointer) ? { ...pointer, coveredS: news.ts } : pointer))
  return {
    ...before,
    ...news,
    newsMs: { ...before.newsMs, ...news.newsMs },
    pub,
    pubEventId,
    streamCreatedMs,
    firstStreamMs: before.firstStreamMs ?? (before.bornS === null ? null : streamCreatedMs),
    snapshots,
    unsavedSince: pub === 0 || snapshots.some(covers) ? null : (before.unsavedSince ?? news.ts),
    gaps,
  }
}

/** How many mails the account was last said to have; null = unknown. */
function lastEstimate({ accounts }: CheckpointRecord, { provider, inboxId }: AccountRef): number | null {
  const status = accounts.find((account) => account.provider === provider && account.inbox_id === inboxId)
  return status?.progress.total_estimate ?? null
}

/** Since when the mailbox is quiet, epoch ms; 0 = for ever. */
export const lastNewsMs = (record: CheckpointRecord | undefined, account: AccountRef): number =>
  record?.newsMs?.[stateName(account)] ?? 0

/** What a worker cannot find in the database. */
export function remember(state: AccountState, record: CheckpointRecord, account: AccountRef): void {
  state.estimate = lastEstimate(record, account)
  state.newsMs = lastNewsMs(record, account)
}
