/**
 * T4: what a take-over may go on from. Safe is a base that knows every event of the user that the stream does not hold any
 * more: what it does not know is then read from the stream. Pure.
 */
import type { CheckpointRecord, SnapshotPointer } from '../kv/checkpoint.ts'
import type { StreamFacts } from '../outbox/stream-facts.ts'

/** What a base knows: all up to a sequence of a stream (null = of whatever stream there is), and all up to a time. */
export type Point = { last: number; streamCreatedMs: number | null; coveredS: number | null }
type Checkpoint = Pick<CheckpointRecord, 'pub' | 'streamCreatedMs' | 'ts' | 'snapshots' | 'bornS' | 'firstStreamMs'>
export type Times = { nowS: number; retentionS: number }
/** `lacksPub`: the event that the checkpoint names last is gone, though the stream has gone further: somebody purged it. */
export type Stream = StreamFacts & { lacksPub: boolean }

/** Clocks of instances and server differ: what is nearly too old counts as too old. */
const MARGIN_S = 3_600

/** Nothing is known, and nothing was published before the user had an owner. */
export const fromStart = (checkpoint: Checkpoint | null): Point => ({
  last: 0,
  streamCreatedMs: checkpoint?.firstStreamMs ?? checkpoint?.streamCreatedMs ?? null,
  coveredS: checkpoint?.bornS ?? null,
})

const isSameStream = (a: number | null, b: number | null): boolean => a === null || b === null || a === b
const isYoung = (atS: number | null, { nowS, retentionS }: Times): boolean =>
  atS !== null && nowS - atS < retentionS - Math.min(MARGIN_S, retentionS / 10)

/**
 * What the base does not know is on the stream: nothing behind its end has aged out; or all of it was published after a
 * time that is young; or the stream was made anew, the base knows all of the one before, and nothing has aged out since.
 * An event that ought to be there and is not was purged, and others with it.
 */
export function isSafe(point: Point, checkpoint: Checkpoint | null, stream: Stream, times: Times): boolean {
  if (isSameStream(point.streamCreatedMs, stream.createdMs)) {
    if (checkpoint !== null && stream.lacksPub && point.last < checkpoint.pub) return false
    return point.last >= stream.firstSeq - 1 || isYoung(point.coveredS, times)
  }
  if (checkpoint === null || point.streamCreatedMs !== checkpoint.streamCreatedMs) return false
  return point.last >= checkpoint.pub && (stream.firstSeq <= 1 || isYoung(checkpoint.ts, times))
}

/** Snapshots that are safe, the newest first; those that are not stand behind them, because they know more than nothing. */
export function snapshotsByUse(
  checkpoint: Checkpoint,
  stream: Stream,
  times: Times,
): { pointer: SnapshotPointer; safe: boolean }[] {
  const judged = checkpoint.snapshots.map((pointer) => ({ pointer, safe: isSafe(pointer, checkpoint, stream, times) }))
  return judged.toSorted((a, b) => Number(b.safe) - Number(a.safe))
}

/**
 * Epoch seconds before which mail may have been published with nobody left who knows: nothing was published after the last
 * checkpoint, and what is younger than the retention is on the stream, if that is still the one of the checkpoint and
 * nobody has purged it.
 */
export function gapBefore(checkpoint: Checkpoint | null, stream: Stream, { nowS, retentionS }: Times): number {
  if (checkpoint === null) return nowS - retentionS
  const isPurged = stream.lacksPub && checkpoint.pub >= stream.firstSeq
  const isWhole = isSameStream(checkpoint.streamCreatedMs, stream.createdMs) && !isPurged
  return isWhole ? Math.min(checkpoint.ts, nowS - retentionS) : checkpoint.ts
}
