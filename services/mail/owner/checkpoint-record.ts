/** What a checkpoint says after the one before it: of the snapshots, that they still cover all, or since when none does. Pure. */
import type { CheckpointRecord, SnapshotPointer } from '../kv/checkpoint.ts'

/** Up to where the user's subject is known, and of which stream. */
export type Known = Pick<CheckpointRecord, 'pub' | 'pubEventId' | 'streamCreatedMs' | 'gaps'>
/** `ts`: now, epoch seconds. */
type News = Pick<CheckpointRecord, 'lanes' | 'lanesEpoch' | 'accounts' | 'ts'>

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
    pub,
    pubEventId,
    streamCreatedMs,
    firstStreamMs: before.firstStreamMs ?? (before.bornS === null ? null : streamCreatedMs),
    snapshots,
    unsavedSince: pub === 0 || snapshots.some(covers) ? null : (before.unsavedSince ?? news.ts),
    gaps,
  }
}
