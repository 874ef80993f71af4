/** Accounts by user and by mailbox, and checkpoints that always fit. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accountKey, BUCKET_ACCOUNTS, BUCKET_STATE } from '#shared/subjects.ts'
import type { AccountRef, LaneState } from '../../../services/mail/base/model.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { RevisionConflict } from '../../../services/mail/kv/account-record.ts'
import { Accounts } from '../../../services/mail/kv/accounts.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { type CheckpointRecord, Checkpoints } from '../../../services/mail/kv/checkpoint.ts'
import { newPositionsKey } from '../../../services/mail/kv/sealed-lanes.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { until } from '../../support/until.ts'
import { connected, kvBox, log } from './support.ts'

const account = (userId: string, inboxId = 'primary'): AccountRef => ({ userId, provider: 'google', inboxId })
const MAX_BYTES = 512 * 1024

test('a mailbox is counted once for each connected account of any user, and never wrongly afterwards', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_ACCOUNTS)
  const accounts = new Accounts(() => bucket, systemClock, log)
  const sharers = (mailbox = 'team@x') => accounts.sharers('google', mailbox)
  const put = (userId: string, more: Parameters<typeof connected>[0] = {}) =>
    accounts.change(account(userId), () => connected({ mailbox: 'team@x', ...more }))
  await put('ada')
  await put('grace')
  await put('grace', { updated_at: 2 })
  await put('joan', { mailbox: null })
  assert.equal(sharers(), 2)
  await put('joan', { mailbox: 'team@x' })
  assert.equal(sharers(), 3)
  await put('ada', { desired: 'disconnected', credential: null })
  await put('grace', { mailbox: 'own@x' })
  assert.deepEqual([sharers(), sharers('own@x'), accounts.sharers('microsoft', 'team@x')], [1, 1, 0])
  accounts.replica.clear()
  assert.deepEqual([sharers(), sharers('own@x'), [...accounts.users()]], [0, 0, []])
})

test('a user needs an owner while an account is connected or a grant is to be revoked', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_ACCOUNTS)
  const accounts = new Accounts(() => bucket, systemClock, log)
  await accounts.change(account('a.b', 'work'), () => connected())
  assert.deepEqual([accounts.needsOwner('a.b'), accounts.needsOwner('a')], [true, false])
  assert.deepEqual(accounts.ofUser('a.b')[0]?.account, account('a.b', 'work'))
  await accounts.change(account('a.b', 'work'), () => connected({ desired: 'disconnected', revoke: 'sealed' }))
  assert.equal(accounts.needsOwner('a.b'), true)
  await accounts.change(account('a.b', 'work'), () => connected({ desired: 'disconnected', revoke: null }))
  assert.equal(accounts.needsOwner('a.b'), false)
})

test('the accounts of a user are listed in the order in which they came, and each is kept once', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_ACCOUNTS)
  const accounts = new Accounts(() => bucket, systemClock, log)
  const put = (inboxId: string, more: Parameters<typeof connected>[0] = {}) =>
    accounts.change(account('ada', inboxId), () => connected({ mailbox: `${inboxId}@x`, ...more }))
  const inboxes = () => accounts.ofUser('ada').map((entry) => entry.account.inboxId)
  assert.deepEqual(accounts.ofUser('ada'), [])
  await put('primary')
  assert.deepEqual(inboxes(), ['primary'])
  await put('work')
  await put('primary', { updated_at: 2 })
  assert.deepEqual([inboxes(), [...accounts.entries()].length], [['primary', 'work'], 2])
  const [first] = accounts.ofUser('ada')
  assert.equal(first, accounts.replica.entries.get(accountKey('ada', 'google', 'primary')))
  accounts.replica.forget(accountKey('ada', 'google', 'primary'))
  assert.deepEqual(inboxes(), ['work'])
  accounts.replica.clear()
  assert.deepEqual([inboxes(), [...accounts.users()]], [[], []])
})

test('a change that meets others is decided again on what they wrote, and gives up after five rounds', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_ACCOUNTS)
  const accounts = new Accounts(() => bucket, systemClock, log)
  const key = accountKey('ada', 'google', 'primary')
  const intrude = async (n: number): Promise<void> => {
    const found = await bucket.read(key)
    await bucket.write(key, JSON.stringify(connected({ updated_at: n })), found?.revision ?? null)
  }
  await intrude(1)
  // Writes of others are slipped in between the read and the write of the change.
  let rounds = 0
  const meddled = new Accounts(
    () =>
      Object.assign(Object.create(bucket) as Bucket, {
        read: (k: string) => bucket.read(k),
        write: async (k: string, value: string, revision: number | null) => {
          rounds += 1
          if (rounds <= 2) await intrude(10 + rounds)
          return await bucket.write(k, value, revision)
        },
      }),
    systemClock,
    log,
  )
  const seen: (number | undefined)[] = []
  const change = (record: ReturnType<typeof connected> | null) => {
    seen.push(record?.updated_at)
    return connected({ updated_at: (record?.updated_at ?? 0) + 1 })
  }
  assert.equal((await meddled.change(account('ada'), change))?.record.updated_at, 13)
  assert.deepEqual(seen, [1, 11, 12])
  rounds = -1_000_000
  await assert.rejects(meddled.change(account('ada'), change), RevisionConflict)
  assert.equal(seen.length, 8)
  assert.equal((await accounts.read(account('ada')))?.record.desired, 'connected')
})

const checkpoint = (lanes: LaneState[]): CheckpointRecord => ({
  v: 1,
  epoch: { era: 1, rev: 1 },
  owner: 'sid',
  lanes: { 'microsoft.primary': lanes },
  pub: 5,
  pubEventId: 'e',
  streamCreatedMs: null,
  snapshots: [],
  unsavedSince: null,
  gaps: {},
  bornS: null,
  firstStreamMs: null,
  accounts: [],
  ts: 1_700_000_000,
})
const folders = (n: number, bytes: number): LaneState[] =>
  Array.from({ length: n }, (_, i) => ({ ...newLane(`folder:${i}`), cursor: 'x'.repeat(bytes), syncedMs: i }))

test('a checkpoint always fits into 512 KiB; the positions changed longest ago are left out', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const checkpoints = new Checkpoints(() => bucket)
  for (const [n, bytes] of [
    [3, 1_000],
    [100, 20_000],
    [3, 400_000],
    [3_000, 500],
  ] as const) {
    const user = `user${n}x${bytes}`
    await checkpoints.write(user, checkpoint(folders(n, bytes)), null)
    const raw = await bucket.read(user)
    assert.ok(Buffer.byteLength(raw?.value ?? '') <= MAX_BYTES, `${n} lanes of ${bytes} bytes`)
    const kept = (await checkpoints.read(user))?.record.lanes['microsoft.primary'] ?? []
    assert.ok(n * bytes > MAX_BYTES ? kept.length < n : kept.length === n)
    assert.deepEqual(
      kept.map(({ syncedMs }) => syncedMs),
      folders(n, 0)
        .map(({ syncedMs }) => syncedMs)
        .slice(n - kept.length),
    )
  }
})

test('of a checkpoint that is too large only lanes are left out that come again by themselves', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const checkpoints = new Checkpoints(() => bucket)
  const gmail = ['history', 'enum', 'drain'].map((lane) => newLane(lane))
  const record = checkpoint([newLane('folders'), newLane('drain'), ...folders(300, 3_000)])
  await checkpoints.write('ada', { ...record, lanes: { ...record.lanes, 'google.primary': gmail } }, null)
  const lanes = (await checkpoints.read('ada'))?.record.lanes ?? {}
  assert.deepEqual(lanes['google.primary'], gmail)
  const names = lanes['microsoft.primary']?.map(({ lane }) => lane) ?? []
  assert.deepEqual([names.includes('folders'), names.includes('drain'), names.length < 302], [true, true, true])
})

test('positions stand in the bucket sealed with the key of their account; without it they are left out', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const keys = new Map([['google.primary', newPositionsKey()]])
  const checkpoints = new Checkpoints(() => bucket, { keyOf: (_user, account) => keys.get(account) ?? null })
  const record = checkpoint([{ ...newLane('folders'), cursor: 'plain-canary' }])
  const google = [{ ...newLane('history'), cursor: 'sealed-canary' }]
  const both = { ...record, lanes: { ...record.lanes, 'google.primary': google } }
  await checkpoints.write('ada', both, null)
  const raw = (await bucket.read('ada'))?.value ?? ''
  assert.deepEqual([raw.includes('sealed-canary'), raw.includes('plain-canary')], [false, true])
  assert.deepEqual((await checkpoints.read('ada'))?.record, both)
  // As a thief with rights to write would: neither another user nor another account can be given them.
  await bucket.write('eve', raw, null)
  assert.deepEqual((await checkpoints.read('eve'))?.record.lanes, record.lanes)
  for (const key of [newPositionsKey(), 'AA']) {
    keys.set('google.primary', key)
    assert.deepEqual((await checkpoints.read('ada'))?.record.lanes, record.lanes)
  }
})

test('a checkpoint that cannot be read counts as none and can be replaced', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const checkpoints = new Checkpoints(() => bucket)
  await bucket.write('ada', '{"v":2}', null)
  assert.equal(await checkpoints.read('ada'), null)
  await checkpoints.write('ada', checkpoint([]), (await checkpoints.look('ada')).revision)
  assert.deepEqual((await checkpoints.read('ada'))?.record, checkpoint([]))
  await assert.rejects(checkpoints.write('ada', checkpoint([]), 1), RevisionConflict)
})

test('a revision that a server gives out anew is not taken for the one that was seen before', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const checkpoints = new Checkpoints(() => bucket)
  const term = (rev: number): CheckpointRecord => ({ ...checkpoint([]), epoch: { era: 1, rev } })
  const seen = await checkpoints.write('ada', term(1), null)
  await box.server.wipe()
  await box.server.start()
  const others = new Checkpoints(
    (
      (later) => () =>
        later
    )(await Bucket.open(await box.connect(), BUCKET_STATE)),
  )
  assert.equal(await others.write('ada', term(2), null), seen, 'control: by its revision it is the same')
  await until('the link is back', () => checkpoints.read('ada').catch(() => null))
  await assert.rejects(checkpoints.write('ada', term(1), seen), RevisionConflict)
  assert.deepEqual((await others.read('ada'))?.record, term(2))
  assert.ok((await checkpoints.write('ada', term(3), seen)) > seen, 'a later term may replace it')
})
