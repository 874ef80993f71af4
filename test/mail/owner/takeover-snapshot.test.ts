/** A disk that does not know all that was published: the ledger of a snapshot, or a gap that is said. */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { test } from 'node:test'
import { eventId } from '#shared/event.ts'
import { storeNew } from '../../../services/mail/store/messages.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import { dueRows } from '../../../services/mail/store/outbox-rows.ts'
import { ACCOUNT, mail, mails } from '../store/support.ts'
import { diedAfterClaim, epoch, rewrite, takeoverBox, USER, withSnapshot, withSnapshotAt } from './takeover-box.ts'

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
  assert.deepEqual([meta?.lastSeq, meta?.rebuilding, meta?.gapBefore], [9, false, null])
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
  const before = box.diskOf('b').read(USER, readMeta)?.gapBefore ?? 0
  const monthAgoS = Date.now() / 1_000 - 30 * 86_400
  assert.ok(Math.abs(before - monthAgoS) < 60, `${before}`)
  box.firstSeq = 1
  await rewrite(box, () => ({ gapBefore: before }))
  const disk = box.diskOf('b')
  disk.release(USER)
  rmSync(disk.fileOf(USER))
  assert.equal((await box.take('b', epoch(3))).base, 'stream')
  assert.equal(disk.read(USER, readMeta)?.gapBefore, before)
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
