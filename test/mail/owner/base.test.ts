/** Which bases know everything that the stream does not hold any more. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SnapshotPointer } from '../../../services/mail/kv/checkpoint.ts'
import { fromStart, gapBefore, isSafe, snapshotsByUse } from '../../../services/mail/owner/base.ts'
import { addGeneration, isSnapshotDue, renewalS } from '../../../services/mail/owner/snapshotter.ts'

const DAY_S = 86_400
const NOW_S = 1_000 * DAY_S
const TIMES = { nowS: NOW_S, retentionS: 30 * DAY_S }
const STREAM = { createdMs: 5, firstSeq: 100 }
const young = { pub: 40, streamCreatedMs: 5, ts: NOW_S - DAY_S, snapshots: [] }
const old = { ...young, ts: NOW_S - 31 * DAY_S }
const point = (last: number, streamCreatedMs: number | null = 5) => ({ last, streamCreatedMs })
const pointer = (last: number, more: Partial<SnapshotPointer> = {}): SnapshotPointer => ({
  name: `ada/1.1-${last}`,
  sha256: '',
  mails: 600,
  last,
  lastEventId: null,
  streamCreatedMs: 5,
  ts: 0,
  ...more,
})

test('a base is safe when nothing behind it has aged out', () => {
  assert.equal(isSafe(point(99), old, STREAM, TIMES), true, 'the next one may be the first that is left')
  assert.equal(isSafe(point(98), old, STREAM, TIMES), false)
  assert.equal(isSafe(point(99), null, STREAM, TIMES), true)
  assert.equal(isSafe(point(99, 4), old, STREAM, TIMES), false, 'a sequence of another stream says nothing')
  assert.equal(isSafe(fromStart(STREAM), young, STREAM, TIMES), false)
  assert.equal(isSafe(fromStart({ createdMs: 5, firstSeq: 1 }), null, { createdMs: 5, firstSeq: 1 }, TIMES), true)
  assert.equal(isSafe(fromStart({ createdMs: 5, firstSeq: 0 }), null, { createdMs: 5, firstSeq: 0 }, TIMES), true)
})

test('a base that covers a young checkpoint is safe, because what came after that is young too', () => {
  assert.equal(isSafe(point(40), young, STREAM, TIMES), true)
  assert.equal(isSafe(point(39), young, STREAM, TIMES), false, 'the event between them has aged out')
  assert.equal(isSafe(point(40), old, STREAM, TIMES), false, 'what was published since may have aged out')
  assert.equal(isSafe(point(40), null, STREAM, TIMES), false)
})

test('a stream made anew has no event of before: what covers the checkpoint of the old one is safe', () => {
  const anew = { createdMs: 9, firstSeq: 7 }
  assert.equal(isSafe(point(40), young, anew, TIMES), true)
  assert.equal(isSafe(point(39), young, anew, TIMES), false, 'what was on the old stream behind it is not known')
  assert.equal(
    isSafe(point(8, 9), { ...young, streamCreatedMs: 9, pub: 8 }, anew, TIMES),
    true,
    'and further on the new one',
  )
})

test('safe snapshots come first, the newest of them before the others', () => {
  const { snapshots, ...rest } = { ...young, snapshots: [pointer(39), pointer(120), pointer(99), pointer(3)] }
  const order = snapshotsByUse({ ...rest, snapshots }, STREAM, TIMES)
  assert.deepEqual(
    order.map(({ pointer: { last }, safe }) => [last, safe]),
    [
      [120, true],
      [99, true],
      [39, false],
      [3, false],
    ],
  )
})

test('what is in doubt ends where the last checkpoint was written, and where the stream begins', () => {
  assert.equal(gapBefore(old, TIMES), old.ts, 'nothing was published after it')
  assert.equal(gapBefore(young, TIMES), NOW_S - 30 * DAY_S, 'what is younger is on the stream')
  assert.equal(gapBefore(null, TIMES), NOW_S - 30 * DAY_S)
})

const META = { streamCreatedMs: 5, streamResetMs: null, gapBefore: null }
const isDue = (size: number, more: object = {}, meta: object = {}): boolean =>
  isSnapshotDue({ snapshots: [], unsavedSince: NOW_S, ...more }, size, { ...META, ...meta }, NOW_S, TIMES.retentionS)

test('a snapshot is due after 500 new mails or two percent, after a day, and when the stream alone does not tell', () => {
  assert.equal(isDue(0, { unsavedSince: 0 }), false, 'of nothing there is no snapshot')
  assert.deepEqual([isDue(499), isDue(500)], [false, true])
  const large = { snapshots: [pointer(9, { mails: 100_000 })] }
  assert.deepEqual([isDue(101_000, large), isDue(102_100, large)], [false, true])
  assert.deepEqual(
    [isDue(1, { unsavedSince: NOW_S - DAY_S + 1 }), isDue(1, { unsavedSince: NOW_S - DAY_S })],
    [false, true],
  )
  assert.equal(isDue(1, {}, { gapBefore: 7 }), true)
  assert.equal(isDue(1, {}, { streamResetMs: 7 }), true)
  assert.equal(isDue(600, { snapshots: [pointer(9)], unsavedSince: null }), false)
  assert.equal(isDue(600, { snapshots: [pointer(9, { streamCreatedMs: 4 })] }), true)
  assert.equal(renewalS(DAY_S), DAY_S / 4, 'a short retention shortens the day')
})

test('three generations are kept; one taken again under its name replaces itself', () => {
  const before = [pointer(3), pointer(2), pointer(1)]
  const next = addGeneration(pointer(4), before)
  assert.deepEqual([next.kept.map(({ last }) => last), next.dropped], [[4, 3, 2], ['ada/1.1-1']])
  const same = addGeneration(pointer(3), before)
  assert.deepEqual([same.kept.map(({ last }) => last), same.dropped], [[3, 2, 1], []])
})
