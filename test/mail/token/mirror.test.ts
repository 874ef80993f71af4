import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { loadKeys } from '../../../services/mail/token/keys.ts'
import { restoreRecords } from '../../../services/mail/token/restore.ts'
import { createSeal, KeyUnavailableError, kidsOf } from '../../../services/mail/token/seal.ts'
import { createLog } from '../../../shared/log.ts'
import { Secret } from '../../../shared/secret.ts'
import { BUCKET_ACCOUNTS, bucketStream } from '../../../shared/subjects.ts'
import { deleteStream } from '../../support/delete-stream.ts'
import { Broker, nowS, tokensOf, World } from './world.ts'

const signal = new AbortController().signal
let broker: Broker
before(async () => {
  broker = await Broker.start()
})
after(() => broker[Symbol.asyncDispose]())

/** A lost JetStream, as far as accounts go: the bucket is gone and an empty one of its name is made. */
async function loseBucket(): Promise<void> {
  const jsm = await jetstreamManager(broker.nc)
  await deleteStream(jsm, bucketStream(BUCKET_ACCOUNTS))
  broker.bucket = await Bucket.open(broker.nc, BUCKET_ACCOUNTS)
}

/** Where the account's record stands now, as a fresh watch would say. */
async function present(world: World): Promise<() => number | null> {
  const found = await world.records.read(world.account)
  return () => found?.revision ?? null
}

test('records are mirrored, changes beside the credential too, and old news are ignored', async (t) => {
  const world = await World.start(t, broker)
  const { tokens, auth } = world.open(t)
  const first = await world.recordOf(tokensOf('1', nowS() + 3600))
  await tokens.noteRecord(world.account, first, 10)
  assert.equal(auth.get(world.account)?.kvRev, 10)
  const sealed = auth.get(world.account)?.accessToken
  await tokens.noteRecord(world.account, { ...first, reauth: { code: 'AUTH_EXPIRED', at: 5 } }, 11)
  const row = auth.get(world.account)
  assert.deepEqual([row?.kvRev, row?.reauth?.at, row?.accessToken], [11, 5, sealed])
  await tokens.noteRecord(
    world.account,
    await world.recordOf(tokensOf('older', 0), { updated_at: first.updated_at }),
    9,
  )
  assert.deepEqual(await world.onDisk(auth), ['canary-access-1', 'canary-refresh-1'])
  await tokens.noteRecord(world.account, await world.recordOf(tokensOf('2', 0)), 12)
  assert.deepEqual(await world.onDisk(auth), ['canary-access-2', 'canary-refresh-2'])
  assert.deepEqual(auth.allKids(kidsOf), ['k1'])
  await tokens.noteRecord(world.account, { ...first, desired: 'disconnected', credential: null }, 13)
  assert.equal(auth.get(world.account), null)
})

test('a credential that others stored replaces the cached token at once', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS() + 3600))
  const { tokens } = world.open(t)
  await tokens.accessToken(world.account, {}, signal)
  const revision = await world.connect(tokensOf('2', nowS() + 3600))
  const found = await world.records.read(world.account)
  assert.ok(found !== null)
  await tokens.noteRecord(world.account, found.record, revision)
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-2')
})

test('a record sealed with an unknown key is an error of its own and deletes nothing', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS() + 3600))
  const { tokens, auth } = world.open(t)
  await tokens.accessToken(world.account, {}, signal)
  const keys = new Secret(`other:${randomBytes(32).toString('base64url')}`)
  const ring = await loadKeys(
    { keys, production: true, dataDir: world.dir, kidsInUse: [] },
    createLog('test', 'silent'),
  )
  const stranger = world.open(t, { seal: createSeal(ring) })
  await assert.rejects(stranger.tokens.accessToken(world.account, {}, signal), KeyUnavailableError)
  assert.deepEqual(await world.onDisk(auth), ['canary-access-1', 'canary-refresh-1'])
  assert.deepEqual(await world.inKv(), ['canary-access-1', 'canary-refresh-1'])
})

test('after a lost JetStream the records come back once, with everything but a disconnected one', async (t) => {
  const world = await World.start(t, broker)
  const reauth = { code: 'AUTH_EXPIRED', at: 5 }
  await world.connect(tokensOf('1', nowS() + 3600), { mailbox: 'box', address: 'me@example.com', reauth })
  const { tokens, auth, records } = world.open(t)
  await tokens.accessToken(world.account, {}, signal)
  const before = await world.records.read(world.account)
  await loseBucket()
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-1')
  tokens.invalidate(world.account)
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-1', 'not restored yet')

  const created = broker.bucket.createdMs
  assert.deepEqual(await restoreRecords(tokens, records, await present(world), signal), {
    restored: 1,
    alreadyThere: 0,
  })
  const found = await world.records.read(world.account)
  const { positions_key: key, ...record } = found?.record ?? {}
  assert.deepEqual({ ...record, credential: '' }, { ...before?.record, credential: '', unverified: true })
  assert.match(key ?? '', /^[\w-]{43}$/, 'a new key: what the old one sealed is lost too')
  assert.deepEqual(await world.inKv(), ['canary-access-1', 'canary-refresh-1'])
  const row = auth.get(world.account)
  assert.deepEqual([row?.bucketCreatedMs, row?.kvRev, row?.dirty], [created, found?.revision, false])
  assert.deepEqual(await restoreRecords(tokens, records, await present(world), signal), {
    restored: 0,
    alreadyThere: 0,
  })

  await loseBucket()
  await world.connect(tokensOf('1', 0), { desired: 'disconnected', credential: null })
  const again = await restoreRecords(tokens, records, await present(world), signal)
  assert.deepEqual(again, { restored: 0, alreadyThere: 1 })
  assert.equal(auth.get(world.account), null)
})

test('of two instances that restore an account the newer credential holds, in either order', async (t) => {
  for (const newerFirst of [false, true]) {
    const world = await World.start(t, broker)
    const old = world.open(t, { disk: 'old' })
    const fresh = world.open(t, { disk: 'fresh' })
    const record = await world.recordOf(tokensOf('1', nowS() + 3600), { updated_at: nowS() - 1000 })
    const revision = await world.records.write(world.account, record, null)
    for (const instance of [old, fresh]) await instance.tokens.noteRecord(world.account, record, revision)
    await fresh.tokens.accessToken(world.account, { refresh: 'force' }, signal)
    await loseBucket()
    for (const { tokens, records } of newerFirst ? [fresh, old] : [old, fresh]) {
      const found = await world.records.read(world.account)
      // The watch may be quicker than the restoring.
      if (found !== null) await tokens.noteRecord(world.account, found.record, found.revision)
      await restoreRecords(tokens, records, await present(world), signal)
    }
    assert.deepEqual(await world.inKv(), ['canary-access-2', 'canary-refresh-2'])
    const found = await world.records.read(world.account)
    assert.ok(found !== null)
    await old.tokens.noteRecord(world.account, found.record, found.revision)
    for (const { auth } of [old, fresh]) assert.deepEqual(await world.onDisk(auth), await world.inKv())
  }
})

const RECENTLY = -1_000
const FAR = 1_000

test('a record that fell back behind the row gives way to it: in use, and when accounts are restored', async (t) => {
  for (const way of ['in use', 'restored'] as const) {
    const world = await World.start(t, broker)
    const reauth = { code: 'AUTH_EXPIRED', at: 5 }
    const revision = await world.connect(tokensOf('old', 0), { updated_at: nowS() + RECENTLY, reauth })
    const { tokens, auth, records } = world.open(t)
    await tokens.noteRecord(world.account, await world.recordOf(tokensOf('new', nowS() + 3600)), revision + FAR)
    const found = await world.records.read(world.account)
    assert.ok(found !== null)
    await tokens.noteRecord(world.account, found.record, revision)
    assert.deepEqual(await world.onDisk(auth), ['canary-access-new', 'canary-refresh-new'], 'a watch that went back')
    if (way === 'in use')
      assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-new')
    else {
      const count = await restoreRecords(tokens, records, await present(world), signal)
      assert.deepEqual(count, { restored: 1, alreadyThere: 0 })
      assert.equal((await world.records.read(world.account))?.record.reauth, null, 'what else the row knows holds too')
    }
    assert.deepEqual(await world.inKv(), ['canary-access-new', 'canary-refresh-new'])
    const again = await restoreRecords(tokens, records, await present(world), signal)
    assert.deepEqual(again, { restored: 0, alreadyThere: 0 }, way)
  }
})

test('a record that is missing from a bucket that went backwards is made again', async (t) => {
  const world = await World.start(t, broker)
  const { tokens, records } = world.open(t)
  await tokens.noteRecord(world.account, await world.recordOf(tokensOf('1', nowS() + 3600)), FAR)
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-1')
  const count = await restoreRecords(tokens, records, await present(world), signal)
  assert.deepEqual(count, { restored: 1, alreadyThere: 0 })
  assert.deepEqual(await world.inKv(), ['canary-access-1', 'canary-refresh-1'])
})

test('what users did after the bucket went backwards holds, although its revisions are lower', async (t) => {
  const world = await World.start(t, broker)
  const { tokens, auth, records } = world.open(t)
  const before = await world.recordOf(tokensOf('old', 0), { updated_at: nowS() + RECENTLY })
  await tokens.noteRecord(world.account, before, FAR)
  const revision = await world.connect(tokensOf('new', nowS() + 3600))
  assert.ok(revision < FAR)
  const count = await restoreRecords(tokens, records, await present(world), signal)
  assert.deepEqual(count, { restored: 0, alreadyThere: 1 })
  assert.deepEqual(await world.onDisk(auth), ['canary-access-new', 'canary-refresh-new'])
  const gone = { desired: 'disconnected', credential: null, updated_at: nowS() + FAR } as const
  await tokens.noteRecord(world.account, await world.recordOf(tokensOf('new', 0), gone), revision - 1)
  assert.equal(auth.get(world.account), null)
})

test('an old disconnect that came back with the bucket does not end what was connected after it', async (t) => {
  const world = await World.start(t, broker)
  const gone = { desired: 'disconnected', credential: null, updated_at: nowS() + RECENTLY } as const
  const revision = await world.connect(tokensOf('old', 0), gone)
  const { tokens, records } = world.open(t)
  await tokens.noteRecord(world.account, await world.recordOf(tokensOf('1', nowS() + 3600)), revision + FAR)
  await assert.rejects(tokens.accessToken(world.account, {}, signal), /not connected/)
  const count = await restoreRecords(tokens, records, await present(world), signal)
  assert.deepEqual(count, { restored: 1, alreadyThere: 0 })
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-1')
})

test('another record at the revision of the row counts by its time: later ones are taken, the row stands above earlier ones', async (t) => {
  for (const later of [true, false]) {
    const world = await World.start(t, broker)
    const revision = await world.connect(tokensOf('again', nowS() + 3600), { updated_at: nowS() + (later ? 0 : -FAR) })
    const { tokens, auth } = world.open(t)
    await tokens.noteRecord(
      world.account,
      await world.recordOf(tokensOf('lost', nowS() + 3600), { updated_at: nowS() + RECENTLY / 2 }),
      revision,
    )
    const found = await world.records.read(world.account)
    assert.ok(found !== null)
    await tokens.noteRecord(world.account, found.record, revision)
    const name = later ? 'again' : 'lost'
    assert.deepEqual(await world.onDisk(auth), [`canary-access-${name}`, `canary-refresh-${name}`])
    assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), `canary-access-${name}`)
    assert.deepEqual(await world.inKv(), await world.onDisk(auth))
    const gone = { desired: 'disconnected', credential: null, updated_at: nowS() + FAR } as const
    await tokens.noteRecord(world.account, await world.recordOf(tokensOf('gone', 0), gone), revision)
    assert.equal(auth.get(world.account), null)
  }
})
