/** What the next owner of a user starts from, and that the past owner's hands are tied from then on. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { test } from 'node:test'
import * as v from 'valibot'
import { AccountStatus, CONTRACT, StatusReply } from '#shared/contract.ts'
import { RevisionConflict } from '../../../services/mail/kv/account-record.ts'
import { NO_AUDIT, putAudit, readAudit } from '../../../services/mail/store/audits.ts'
import { putLane, readLanes } from '../../../services/mail/store/lanes.ts'
import { StaleEpochError } from '../../../services/mail/store/user-store.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { ACCOUNT } from '../store/support.ts'
import { diedAfterClaim, epoch, rewrite, takeoverBox, USER } from './takeover-box.ts'

const [EXAMPLE] = v.parse(StatusReply, CONTRACT.status.example.reply).accounts
assert.ok(EXAMPLE !== undefined)

test('a new user, the same owner again, another one, and the first one behind it', async () => {
  await using box = await takeoverBox()
  assert.equal((await box.take('a', epoch(1))).base, 'new')
  box.walk('a', epoch(1), 'a1')
  await box.write('a1')
  box.walk('a', epoch(1), 'a2')
  assert.equal((await box.take('a', epoch(2))).base, 'local')
  assert.deepEqual(box.lanes('a'), ['history:a2'], 'its own position is newer than the checkpoint')

  assert.equal((await box.take('b', epoch(3))).base, 'stream')
  assert.deepEqual(box.lanes('b'), ['history:a1', 'refill:null'], 'from the checkpoint, and rows that are missing here')
  box.walk('b', epoch(3), 'b9')
  await box.write('b9')
  const back = await box.take('a', epoch(4))
  assert.equal(back.base, 'stale')
  assert.deepEqual(box.lanes('a'), ['history:b9'], 'others have been further')
  assert.deepEqual([back.checkpoint.record.owner, back.checkpoint.record.epoch], ['sid-a', epoch(4)])
})

test('the next owner takes the proof over from the checkpoint, and no audit of its own disk', async () => {
  await using box = await takeoverBox()
  const told = async (proven_at: number | null): Promise<void> => {
    const account = v.parse(AccountStatus, { ...EXAMPLE, completeness: { ...EXAMPLE.completeness, proven_at } })
    await rewrite(box, () => ({ accounts: [account] }))
  }
  const provenMs = (name: 'a' | 'b') => box.diskOf(name).read(USER, (db) => readAudit(db, ACCOUNT).provenMs)
  await box.take('a', epoch(1))
  box.walk('a', epoch(1), 'a1')
  await box.write('a1')
  box.diskOf('a').commit(USER, epoch(1), (tx) => putLane(tx, ACCOUNT, newLane('audit')))
  await told(1_700)
  assert.equal((await box.take('b', epoch(2))).base, 'stream')
  assert.equal(provenMs('b'), 1_700_000)
  box.walk('b', epoch(2), 'b2')
  await box.write('b2')
  await told(null)
  box.diskOf('a').commit(USER, epoch(1), (tx) => putAudit(tx, ACCOUNT, { ...NO_AUDIT, provenMs: 5 }))
  assert.equal((await box.take('a', epoch(3))).base, 'stale')
  assert.equal(provenMs('a'), null, 'others have found something missing since')
  assert.deepEqual(box.lanes('a'), ['history:b2'])
})

test('a past owner can write neither the checkpoint nor the database, nor come back', async () => {
  await using box = await takeoverBox()
  const past = await box.take('a', epoch(1))
  await box.take('a', epoch(2))
  await assert.rejects(box.checkpoints.write(USER, past.checkpoint.record, past.checkpoint.revision), RevisionConflict)
  assert.throws(() => box.walk('a', epoch(1), 'late'), StaleEpochError)
  await assert.rejects(box.take('a', epoch(1)), StaleEpochError)
  await assert.rejects(box.take('b', epoch(1)), StaleEpochError)
  await box.take('b', epoch(1, 2_000))
  await assert.rejects(box.take('a', epoch(99)), StaleEpochError, 'a later bucket counts from one again')
})

test('two who take over at the same time: only the later epoch can write afterwards', async () => {
  await using box = await takeoverBox()
  const results = await Promise.allSettled([box.take('a', epoch(1)), box.take('b', epoch(2))])
  assert.equal(results[1]?.status, 'fulfilled')
  const record = (await box.checkpoints.read(USER))?.record
  assert.deepEqual([record?.epoch, record?.owner], [epoch(2), 'sid-b'])
})

for (const [what, damage] of [
  ['empty', (file: string) => truncateSync(file)],
  ['gone', (file: string) => rmSync(file)],
  ['overwritten', (file: string) => writeFileSync(file, 'x'.repeat(8_192))],
] as const)
  test(`a database that is ${what} is a lost disk, not a new user; nothing is deleted`, async () => {
    await using box = await takeoverBox()
    await box.take('a', epoch(1))
    box.walk('a', epoch(1), 'a1', { notBeforeMs: 9_999_999_999_999 })
    await box.write('a1', { notBeforeMs: 9_999_999_999_999 })
    const store = box.diskOf('a')
    const file = store.fileOf(USER)
    store.release(USER)
    for (const suffix of ['-wal', '-shm']) rmSync(file + suffix, { force: true })
    damage(file)
    assert.equal((await box.take('a', epoch(2))).base, 'stream')
    assert.deepEqual(box.lanes('a'), ['history:a1', 'refill:null'], 'not before the announced time')
    const [lane] = store.read(USER, (db) => readLanes(db, ACCOUNT))
    assert.equal(lane?.notBeforeMs, 9_999_999_999_999)
    const aside = readdirSync(dirname(file)).filter((name) => name.includes('corrupt'))
    assert.equal(aside.length, what === 'overwritten' ? 1 : 0)
  })

test('the database of somebody else is refused and left as it is', async () => {
  await using box = await takeoverBox()
  const store = box.diskOf('a')
  store.adopt('eve', epoch(1))
  store.commit('eve', epoch(1), (tx) =>
    putLane(tx, { ...ACCOUNT, userId: 'eve' }, { ...newLane('history'), cursor: 'eve' }),
  )
  store.release('eve')
  const file = store.fileOf(USER)
  mkdirSync(dirname(file), { recursive: true })
  cpSync(store.fileOf('eve'), file)
  await assert.rejects(box.take('a', epoch(2)), { name: 'DiskError', code: 'FOREIGN' })
  store.release(USER)
  assert.deepEqual(readFileSync(file), readFileSync(store.fileOf('eve')), 'on some disks it may be the very same file')
})

test('a take-over that dies between its steps is simply made again, with the newest positions', async () => {
  await using box = await takeoverBox()
  await box.take('a', epoch(1))
  box.walk('a', epoch(1), 'a5')
  await box.write('a4')
  await diedAfterClaim(box, epoch(2))
  assert.equal((await box.take('a', epoch(3))).base, 'local')
  await diedAfterClaim(box, epoch(4))
  assert.equal((await box.take('a', epoch(5))).base, 'local')
  assert.deepEqual(box.lanes('a'), ['history:a5'])
})

test('an owner that wrote no position has overtaken nobody, one that did has', async () => {
  await using box = await takeoverBox()
  await box.take('a', epoch(1))
  box.walk('a', epoch(1), 'a5')
  await box.write('a4')
  await box.take('b', epoch(2))
  assert.equal((await box.take('a', epoch(3))).base, 'local')
  assert.deepEqual(box.lanes('a'), ['history:a5'])
  assert.equal((await box.take('b', epoch(4))).base, 'local', 'as new as the checkpoint')
  await box.take('a', epoch(5))
  await box.write('a6')
  assert.equal((await box.take('b', epoch(6))).base, 'stale')
  assert.deepEqual(box.lanes('b'), ['history:a6', 'refill:null'], 'what this disk lacks, it still lacks')
})

test('a checkpoint without the term of its positions is judged by its epoch', async () => {
  await using box = await takeoverBox()
  await box.take('a', epoch(1))
  box.walk('a', epoch(1), 'a5')
  await box.write('a4')
  const found = await box.checkpoints.read(USER)
  assert.ok(found !== null)
  const { lanesEpoch: _, ...older } = found.record
  const revision = await box.checkpoints.write(USER, older, found.revision)
  assert.equal((await box.take('a', epoch(2))).base, 'local')
  const now = await box.checkpoints.read(USER)
  assert.ok(now !== null && now.revision > revision)
  await box.checkpoints.write(USER, { ...older, epoch: epoch(3) }, now.revision)
  assert.equal((await box.take('a', epoch(4))).base, 'stale')
  assert.deepEqual(box.lanes('a'), ['history:a4'], 'behind its own, never ahead of what is published')
})

test('a checkpoint that cannot be read does not keep a user from being taken over', async () => {
  await using box = await takeoverBox()
  await box.bucket.write(USER, 'no JSON', null)
  assert.equal((await box.take('a', epoch(1))).base, 'stream', 'somebody has owned the user')
  assert.equal((await box.checkpoints.read(USER))?.record.owner, 'sid-a')
})
