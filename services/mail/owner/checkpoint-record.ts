/**
 * What a checkpoint says after the one before it: of the snapshots, that they still cover all, or since when none does; and
 * what it says of one account. Pure.
 */
import { type AccountRef, stateName } from '../base/model.ts'
import type { AccountEntry } from '../kv/accounts.ts'
import type { CheckpointRecord, SnapshotPointer } from '../kv/checkpoint.ts'

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
  const named = new Set(news.accounts.map(({ provider, inbox_id: inboxId }) => stateName({ provider, inboxId })))
  const snapshots = before.snapshots.map((pointer) => (covers(pointer) ? { ...pointer, coveredS: news.ts } : pointer))
  return {
    ...before,
    ...news,
    // Of accounts that are connected: a user may name and leave any number of inboxes.
    newsMs: Object.fromEntries(
      Object.entries({ ...before.newsMs, ...news.newsMs }).filter(([name]) => named.has(name)),
    ),
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
export function lastEstimate({ accounts }: CheckpointRecord, { provider, inboxId }: AccountRef): number | null {
  const status = accounts.find((account) => account.provider === provider && account.inbox_id === inboxId)
  return status?.progress.total_estimate ?? null
}

/** The last news of the mailbox, epoch ms; 0 = none known. Whoever has just connected it waits for mail. */
export const lastNewsMs = (checkpoint: CheckpointRecord | undefined, { account, record }: AccountEntry): number =>
  Math.max(checkpoint?.newsMs?.[stateName(account)] ?? 0, 1_000 * (record.connected_at ?? 0))
