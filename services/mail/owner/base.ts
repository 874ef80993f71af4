/**
 * T4: what a take-over may go on from. Safe is a base that knows every event of the user that the stream does not hold any
 * more: what it does not know is then read from the stream. Pure.
 */
import type { CheckpointRecord, SnapshotPointer } from '../kv/checkpoint.ts'
import type { StreamFacts } from '../outbox/stream-facts.ts'

/** A place up to which every event of the user is known; `streamCreatedMs` null = of whatever stream there is. */
export type Point = { last: number; streamCreatedMs: number | null }
type Checkpoint = Pick<CheckpointRecord, 'pub' | 'streamCreatedMs' | 'ts' | 'snapshots'>
export type Times = { nowS: number; retentionS: number }

/** Nothing is known: everything is read from the stream. */
export const fromStart = (stream: StreamFacts): Point => ({ last: 0, streamCreatedMs: stream.createdMs })

const isSameStream = (a: number | null, b: number | null): boolean => a === null || b === null || a === b

/**
 * What follows `last` is on the stream. Either nothing behind it has aged out; or it covers all that had been published
 * when the checkpoint was written, and what was published since is too young to have aged out.
 */
export function isSafe(point: Point, checkpoint: Checkpoint | null, stream: StreamFacts, times: Times): boolean {
  const isHere = isSameStream(point.streamCreatedMs, stream.createdMs)
  if (isHere && point.last >= stream.firstSeq - 1) return true
  if (checkpoint === null) return false
  const covers = isSameStream(point.streamCreatedMs, checkpoint.streamCreatedMs) && point.last >= checkpoint.pub
  return covers && times.nowS - checkpoint.ts < times.retentionS
}

/** Snapshots that are safe, the newest first; those that are not stand behind them, because they know more than nothing. */
export function snapshotsByUse(
  checkpoint: Checkpoint,
  stream: StreamFacts,
  times: Times,
): { pointer: SnapshotPointer; safe: boolean }[] {
  const judged = checkpoint.snapshots.map((pointer) => ({ pointer, safe: isSafe(pointer, checkpoint, stream, times) }))
  return judged.toSorted((a, b) => Number(b.safe) - Number(a.safe))
}

/**
 * Epoch seconds before which mail may have been published and aged out with nobody left who knows: all that is on the
 * stream is younger than the retention, and nothing was published after the last checkpoint.
 */
export const gapBefore = (checkpoint: Checkpoint | null, { nowS, retentionS }: Times): number =>
  Math.min(checkpoint?.ts ?? Number.POSITIVE_INFINITY, nowS - retentionS)
