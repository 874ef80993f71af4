/** Which bases know everything that the stream does not hold any more. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SnapshotPointer } from '../../../services/mail/kv/checkpoint.ts'
import { fromStart, gapBefore, isSafe, type Point, snapshotsByUse } from '../../../services/mail/owner/base.ts'
import {
  addGeneration,
  enoughFresh,
  isSnapshotDue,
  type LedgerFacts,
  renewalS,
} from '../../../services/mail/owner/snapshotter.ts'

const DAY_S = 86_400
const NOW_S = 1_000 * DAY_S
const TIMES = { nowS: NOW_S, retentionS: 30 * DAY_S }
const STREAM = { createdMs: 5, firstSeq: 100, lastSeq: 500, lacksPub: false }
const [YOUNG_S, OLD_S] = [NOW_S - DAY_S, NOW_S - 31 * DAY_S]
const RECORD = { pub: 40, streamCreatedMs: 5, ts: YOUNG_S, snapshots: [], bornS: OLD_S, firstStreamMs: 5 }
const point = (last: number, more: Partial<Point> = {}): Point => ({
  last,
  streamCreatedMs: 5,
  coveredS: OLD_S,
  ...more,
})
const pointer = (last: number, more: Partial<SnapshotPointer> = {}): SnapshotPointer => ({
  name: `ada/1.1-${last}`,
  sha256: '',
  mails: 600,
  last,
  lastEventId: null,
  streamCreatedMs: 5,
  storeCreatedMs: 3,
  coveredS: OLD_S,
  ...more,
})

test('a base is safe when nothing behind it has aged out', () => {
  assert.equal(isSafe(point(99), RECORD, STREAM, TIMES), true, 'the next one may be the first that is left')
  assert.equal(isSafe(point(98), RECORD, STREAM, TIMES), false)
  assert.equal(isSafe(point(99), null, STREAM, TIMES), true)
  assert.equal(
    isSafe(point(99, { streamCreatedMs: 4 }), RECORD, STREAM, TIMES),
    false,
    'of another stream it says nothing',
  )
})

test('a base is safe when all that it does not know was published after a time that is young', () => {
  assert.equal(isSafe(point(9, { coveredS: YOUNG_S }), RECORD, STREAM, TIMES), true)
  assert.equal(isSafe(point(9, { coveredS: null }), RECORD, STREAM, TIMES), false)
  const nearly = NOW_S - TIMES.retentionS + 60
  assert.equal(isSafe(point(9, { coveredS: nearly }), RECORD, STREAM, TIMES), false, 'clocks differ')
})

test('what somebody has purged is known by nobody who did not know it before', () => {
  const purged = { ...STREAM, firstSeq: 30, lacksPub: true }
  assert.equal(isSafe(point(39, { coveredS: YOUNG_S }), RECORD, purged, TIMES), false)
  assert.equal(isSafe(point(39), RECORD, { ...purged, lacksPub: false }, TIMES), true, 'the control')
  assert.equal(isSafe(point(40), RECORD, purged, TIMES), true)
})

test('to know nothing is safe as long as the whole life of the user is on the stream', () => {
  const whole = { ...STREAM, firstSeq: 1 }
  assert.equal(isSafe(fromStart(RECORD), RECORD, STREAM, TIMES), false)
  assert.equal(isSafe(fromStart(RECORD), RECORD, whole, TIMES), true)
  assert.equal(isSafe(fromStart(RECORD), RECORD, { ...whole, firstSeq: 0 }, TIMES), true)
  const lately = { ...RECORD, bornS: YOUNG_S }
  assert.equal(isSafe(fromStart(lately), lately, STREAM, TIMES), true)
  const elsewhere = { ...RECORD, firstStreamMs: 4 }
  assert.equal(isSafe(fromStart(elsewhere), elsewhere, whole, TIMES), false, 'it began on another stream')
  const unknown = { ...RECORD, bornS: null, firstStreamMs: null }
  assert.equal(isSafe(fromStart(unknown), unknown, STREAM, TIMES), false)
  assert.equal(isSafe(fromStart(null), null, STREAM, TIMES), false)
  assert.equal(isSafe(fromStart(null), null, whole, TIMES), true)
})

test('a stream made anew has no event of before: only what knows all of the old one is safe', () => {
  const anew = { ...STREAM, createdMs: 9, firstSeq: 1 }
  assert.equal(isSafe(point(40), RECORD, anew, TIMES), true)
  assert.equal(isSafe(point(39), RECORD, anew, TIMES), false, 'what was on the old stream behind it is not known')
  assert.equal(isSafe(fromStart(RECORD), RECORD, anew, TIMES), false)
  assert.equal(isSafe(point(40), RECORD, { ...anew, firstSeq: 7 }, TIMES), true, 'published since, so young')
  assert.equal(isSafe(point(40), { ...RECORD, ts: OLD_S }, { ...anew, firstSeq: 7 }, TIMES), false)
  assert.equal(isSafe(point(40), null, anew, TIMES), false)
})

test('safe snapshots come first, the newest of them before the others', () => {
  const record = { ...RECORD, snapshots: [pointer(39), pointer(120), pointer(99), pointer(3)] }
  assert.deepEqual(
    snapshotsByUse(record, STREAM, TIMES).map(({ pointer: { last }, safe }) => [last, safe]),
    [
      [120, true],
      [99, true],
      [39, false],
      [3, false],
    ],
  )
})

test('what is in doubt ends where the last checkpoint was written, and where the stream begins', () => {
  assert.equal(gapBefore({ ...RECORD, ts: OLD_S }, STREAM, TIMES), OLD_S, 'nothing was published after it')
  assert.equal(gapBefore(RECORD, STREAM, TIMES), NOW_S - 30 * DAY_S, 'what is younger is on the stream')
  assert.equal(gapBefore(RECORD, { ...STREAM, createdMs: 9 }, TIMES), YOUNG_S, 'or was on the one that is gone')
  const lacking = { ...STREAM, lacksPub: true }
  assert.equal(gapBefore(RECORD, { ...lacking, firstSeq: 40 }, TIMES), YOUNG_S, 'or was purged')
  assert.equal(gapBefore(RECORD, lacking, TIMES), NOW_S - 30 * DAY_S, 'what is before the first one may have aged out')
  assert.equal(gapBefore(null, STREAM, TIMES), NOW_S - 30 * DAY_S)
})

const FACTS: LedgerFacts = {
  size: 700,
  fresh: 0,
  hasGap: false,
  streamCreatedMs: 5,
  streamResetMs: null,
  storeCreatedMs: 3,
}
const isDue = (facts: Partial<LedgerFacts>, more: object = {}): boolean =>
  isSnapshotDue({ snapshots: [], unsavedSince: NOW_S, ...more }, { ...FACTS, ...facts }, NOW_S, TIMES.retentionS)

test('a snapshot is due after 500 new mails or a tenth, after a day, and when the stream alone does not tell', () => {
  assert.equal(isDue({ size: 0, fresh: 0 }, { unsavedSince: 0 }), false, 'of nothing there is no snapshot')
  assert.deepEqual([isDue({ fresh: 499 }), isDue({ fresh: 500 })], [false, true])
  assert.deepEqual([enoughFresh(10), enoughFresh(100_000)], [500, 10_000])
  assert.deepEqual(
    [isDue({}, { unsavedSince: NOW_S - DAY_S + 1 }), isDue({}, { unsavedSince: NOW_S - DAY_S })],
    [false, true],
  )
  assert.deepEqual([isDue({ hasGap: true }), isDue({ streamResetMs: 7 })], [true, true])
  const saved = { snapshots: [pointer(9)], unsavedSince: null }
  assert.deepEqual([isDue({}, saved), isDue({ hasGap: true, streamResetMs: 7 }, saved)], [false, false])
  assert.equal(isDue({ streamCreatedMs: 6 }, saved), true)
  assert.equal(isDue({ storeCreatedMs: 4 }, saved), true, 'the store was lost, and the object with it')
  assert.equal(renewalS(DAY_S), DAY_S / 4, 'a short retention shortens the day')
})

test('three generations are kept; one taken again under its name replaces itself', () => {
  const before = [pointer(3), pointer(2), pointer(1)]
  const next = addGeneration(pointer(4), before)
  assert.deepEqual([next.kept.map(({ last }) => last), next.dropped], [[4, 3, 2], ['ada/1.1-1']])
  const same = addGeneration(pointer(3), before)
  assert.deepEqual([same.kept.map(({ last }) => last), same.dropped], [[3, 2, 1], []])
})
