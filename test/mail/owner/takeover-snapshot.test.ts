/** A disk that does not know all that was published: the ledger of a snapshot, or a gap that is said. */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { test } from 'node:test'
import { eventId } from '#shared/event.ts'
import type { Epoch, MessageMeta } from '../../../services/mail/base/model.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { takeSnapshot } from '../../../services/mail/owner/snapshotter.ts'
import { ledgerEnd } from '../../../services/mail/store/ledger.ts'
import { storeNew } from '../../../services/mail/store/messages.ts'
import { readMeta, setCovered, setLast } from '../../../services/mail/store/meta.ts'
import { dueRows, markPublished } from '../../../services/mail/store/outbox-rows.ts'
import { ACCOUNT, mail, mails } from '../store/support.ts'
import {
  diedAfterClaim,
  epoch,
  rewrite,
  type TakeoverBox,
  takeoverBox,
  USER,
  withSnapshot,
  withSnapshotAt,
} from './takeover-box.ts'

test('a disk that never had the user takes the ledger over from the snapshot, if nothing behind it has aged out', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  const { base, checkpoint } = await box.take('b', epoch(2))
  assert.equal(base, 'snapshot')
  assert.equal(checkpoint.record.snapshots.length, 1)
  assert.deepEqual(box.lanes('b'), ['history:a1', 'refill:null'])
  const [meta, stored] = [
    box.diskOf('b').read(USER, readMeta),
    box.diskOf('b').commit(USER, epoch(2), (tx) => storeNew(tx, ACCOUNT, mails('m', 4), 1)),
  ]
  assert.deepEqual([meta?.lastSeq, meta?.rebuilding, meta?.gaps], [9, false, {}])
  assert.deepEqual([stored.stored, stored.events], [4, 1])
})

test('a ledger that was half taken over when the process ended is no base', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  box.diskOf('b').adopt(USER, epoch(2), true)
  await diedAfterClaim(box, epoch(2))
  assert.equal((await box.take('b', epoch(3))).base, 'snapshot')
  const known = box.diskOf('b').commit(USER, epoch(3), (tx) => storeNew(tx, ACCOUNT, mails('m', 3), 1))
  assert.equal(known.events, 0)
  assert.equal((await box.take('b', epoch(4))).base, 'local', 'now it is whole')
})

test('control: were it taken for whole, three mails would be published again', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  box.diskOf('b').adopt(USER, epoch(2))
  await diedAfterClaim(box, epoch(2))
  assert.equal((await box.take('b', epoch(3))).base, 'local')
  const known = box.diskOf('b').commit(USER, epoch(3), (tx) => storeNew(tx, ACCOUNT, mails('m', 3), 1))
  assert.equal(known.events, 3)
})

test('a snapshot that is damaged leaves the record, and without another one there is a gap that stays with the user', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  await rewrite(box, ({ snapshots }) => ({ snapshots: snapshots.map((pointer) => ({ ...pointer, sha256: 'x' })) }))
  const { base, checkpoint } = await box.take('b', epoch(2))
  assert.deepEqual([base, checkpoint.record.snapshots], ['gap', []])
  assert.equal(checkpoint.record.unpointed?.length, 1, 'it is deleted after the next checkpoint')
  const gaps = box.diskOf('b').read(USER, readMeta)?.gaps ?? {}
  const before = gaps['google.primary'] ?? 0
  const monthAgoS = Date.now() / 1_000 - 30 * 86_400
  assert.ok(Math.abs(before - monthAgoS) < 60, `${before}`)
  box.firstSeq = 1
  await rewrite(box, () => ({ gaps }))
  const disk = box.diskOf('b')
  disk.release(USER)
  rmSync(disk.fileOf(USER))
  assert.equal((await box.take('b', epoch(3))).base, 'stream')
  assert.deepEqual(disk.read(USER, readMeta)?.gaps, gaps)
})

test('an old database that is no longer safe takes the newer ledger in, and keeps what only it has', async () => {
  await using box = await takeoverBox()
  await box.take('b', epoch(1))
  box.diskOf('b').commit(USER, epoch(1), (tx) => storeNew(tx, ACCOUNT, [mail('own'), mail('m0000')], 1))
  const kept = await box.checkpoints.read(USER)
  assert.ok(kept !== null)
  await box.take('a', epoch(2))
  box.walk('a', epoch(2), 'a1')
  await box.write('a1')
  await withSnapshotAt(box, epoch(2))
  assert.equal((await box.take('b', epoch(3))).base, 'snapshot')
  const due = box.diskOf('b').read(USER, (db) => dueRows(db, 10).map(({ msgId }) => msgId))
  assert.deepEqual(due, [eventId(USER, 'GOOGLE', 'primary', 'own')], 'the other one was published by somebody else')
})

const nowS = (): number => Math.floor(Date.now() / 1_000)

/** One mail more of the owner at a disk, published at a sequence; checkpoint and database say so. */
async function publishOne(box: TakeoverBox, disk: 'a' | 'b', term: Epoch, id: string, seq: number): Promise<void> {
  box.diskOf(disk).commit(USER, term, (tx) => {
    storeNew(tx, ACCOUNT, [mail(id)], 1)
    const rows = dueRows(tx, 1).map((row) => ({ id: row.id, msgId: row.msgId, seq }))
    markPublished(tx, rows, { seq, eventId: rows[0]?.msgId ?? null }, 1)
    setCovered(tx, nowS())
  })
  await rewrite(box, ({ epoch: lanesEpoch }) => ({ pub: seq, ts: nowS(), lanesEpoch }))
}
const eventsOf = (box: TakeoverBox, disk: 'a' | 'b', term: Epoch, ids: MessageMeta[]): number =>
  box.diskOf(disk).commit(USER, term, (tx) => storeNew(tx, ACCOUNT, ids, 1)).events

test('one mail after a month of silence, then a lost disk: snapshot and stream know everything', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  box.firstSeq = 3_000
  await publishOne(box, 'a', epoch(1), 'new', 5_010)
  assert.equal((await box.take('b', epoch(2))).base, 'snapshot')
})

test('back to a disk that was left a moment ago: it needs no snapshot, however far the stream has gone', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  box.firstSeq = 3_000
  await publishOne(box, 'a', epoch(1), 'one', 5_010)
  assert.equal((await box.take('b', epoch(2))).base, 'snapshot')
  await publishOne(box, 'b', epoch(2), 'two', 6_010)
  assert.equal((await box.take('a', epoch(3))).base, 'stale')
})

test('when all events of a user have aged out, an old database knows no more than before', async () => {
  await using box = await takeoverBox()
  await box.take('b', epoch(1))
  await box.write('b0')
  await box.take('a', epoch(2))
  await withSnapshotAt(box, epoch(2))
  // The subject is empty: the relay expects 0 from now on.
  box.diskOf('a').commit(USER, epoch(2), (tx) => setLast(tx, { seq: 0, eventId: null }))
  assert.deepEqual(box.diskOf('a').read(USER, ledgerEnd), {
    seq: 9,
    eventId: eventId(USER, 'GOOGLE', 'primary', 'm0002'),
  })
  assert.equal((await box.take('b', epoch(3))).base, 'snapshot')
  assert.equal(eventsOf(box, 'b', epoch(3), mails('m', 3)), 0)
})

test('a stream made anew and a lost disk: what was on the old stream is not published again as far as anybody knows', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  const { createdMs } = await box.streamFacts()
  const older = { streamCreatedMs: createdMs - 1_000 }
  await publishOne(box, 'a', epoch(1), 'late', 10)
  await rewrite(box, ({ snapshots }) => ({
    ...older,
    firstStreamMs: older.streamCreatedMs,
    snapshots: snapshots.map((pointer) => ({ ...pointer, ...older })),
  }))
  box.firstSeq = 1
  const { base } = await box.take('b', epoch(2))
  assert.deepEqual([base, eventsOf(box, 'b', epoch(2), mails('m', 3))], ['gap', 0])
})

test('half taken over from a snapshot, and then from the stream: the subject is read from its start', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  const disk = box.diskOf('b')
  disk.adopt(USER, epoch(2), true)
  disk.commit(USER, epoch(2), (tx) => setLast(tx, { seq: 9, eventId: null }))
  await diedAfterClaim(box, epoch(2))
  await rewrite(box, () => ({ snapshots: [] }))
  box.firstSeq = 1
  const { base } = await box.take('b', epoch(3))
  assert.deepEqual([base, disk.read(USER, readMeta)?.lastSeq], ['stream', 0])
})

test('a record that cannot be read makes nobody new: the next lost disk is a gap', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  box.diskOf('a').commit(USER, epoch(1), (tx) => setCovered(tx, nowS()))
  const found = await box.bucket.read(USER)
  await box.bucket.write(USER, 'no JSON', found?.revision ?? null)
  const first = await box.take('a', epoch(2))
  assert.deepEqual([first.base, first.isNews], ['local', true])
  assert.equal((await box.take('b', epoch(3))).base, 'gap')
})

test('a record that cannot be read, and a database that others have long overtaken: it is not the newest', async () => {
  await using box = await takeoverBox()
  await box.take('b', epoch(1))
  await box.write('b0')
  await box.take('a', epoch(2))
  await withSnapshotAt(box, epoch(2))
  const found = await box.bucket.read(USER)
  await box.bucket.write(USER, 'no JSON', found?.revision ?? null)
  assert.equal((await box.take('b', epoch(3))).base, 'gap')
})

test('a snapshot that is put and never pointed to leaves the one that is pointed to alone', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  const store = box.diskOf('a')
  store.commit(USER, epoch(1), (tx) => storeNew(tx, ACCOUNT, mails('old', 5), 1, () => true))
  const deps = { store, snapshots: box.snapshots, clock: systemClock }
  await takeSnapshot(USER, epoch(1), deps, async () => true, AbortSignal.timeout(5_000))
  assert.equal((await box.take('b', epoch(2))).base, 'snapshot')
})

test('somebody has purged what one disk knows and the other does not: that is a gap, though all of it was young', async () => {
  await using box = await takeoverBox()
  await withSnapshot(box)
  await rewrite(box, () => ({ bornS: nowS(), snapshots: [] }))
  box.purged.add(9)
  const { base } = await box.take('b', epoch(2))
  const gaps = box.diskOf('b').read(USER, readMeta)?.gaps ?? {}
  assert.deepEqual([base, Object.keys(gaps)], ['gap', ['google.primary']])
})
