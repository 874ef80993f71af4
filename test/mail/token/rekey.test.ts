/** Sealing stored tokens anew, beside everything else that happens to a credential. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, type TestContext, test } from 'node:test'
import { type AccountRecord, RevisionConflict } from '../../../services/mail/kv/account-record.ts'
import type { AuthStore } from '../../../services/mail/store/auth-store.ts'
import { openCredential, openPair } from '../../../services/mail/token/credential.ts'
import { KeyCounter } from '../../../services/mail/token/key-counts.ts'
import { type KeyRing, loadKeys } from '../../../services/mail/token/keys.ts'
import { Rekey, type RekeyParts } from '../../../services/mail/token/rekey.ts'
import { createSeal, SealBrokenError } from '../../../services/mail/token/seal.ts'
import { createLog } from '../../../shared/log.ts'
import { UNREADABLE } from '../../../shared/rekey.ts'
import { Secret } from '../../../shared/secret.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { grantAnswer } from './token-server.ts'
import { Broker, nowS, stuckWrites, tokensOf, World } from './world.ts'

const signal = new AbortController().signal
const log = createLog('test', 'silent')
let broker: Broker
before(async () => {
  broker = await Broker.start()
})
after(() => broker[Symbol.asyncDispose]())

const keyText = (kid: string): string => `${kid}:${randomBytes(32).toString('base64url')}`
const ringOf = (text: string): Promise<KeyRing> =>
  loadKeys({ keys: new Secret(text), production: true, dataDir: 'unused', kidsInUse: [] }, log)

/** A world whose key is `k1`, and the rings after one rotation and after two. */
async function rotated(t: TestContext) {
  const [k1, k2, k3] = [keyText('k1'), keyText('k2'), keyText('k3')]
  const world = await World.start(t, broker, k1)
  const keys = await ringOf(`${k2},${k1}`)
  const later = await ringOf(`${k3},${k2},${k1}`)
  const [onlyK2, onlyK3] = [createSeal(await ringOf(k2)), createSeal(await ringOf(k3))]
  return { world, keys, later, seal: createSeal(keys), onlyK2, onlyK3 }
}

/** The rekey of an instance that has seen the account as the leader has it now. */
async function rekeyOf(world: World, keys: KeyRing, auth: AuthStore, change: Partial<RekeyParts> = {}): Promise<Rekey> {
  const { records, account, log } = world
  const found = await records.read(account)
  return new Rekey({
    keys,
    seal: createSeal(keys),
    auth,
    records: () => (found === null ? [] : [{ ...found, account }]),
    write: (...[ref, record, revision]) => records.write(ref, record, revision),
    isMine: () => true,
    log,
    ...change,
  })
}

const sealOf = (record: AccountRecord | undefined): string => record?.credential ?? ''

test('record and row are sealed with the active key; nothing else of them changes, and the row stays that of the record', async (t) => {
  const { world, keys, seal, onlyK2 } = await rotated(t)
  await world.connect(tokensOf('1', nowS() + 3600), { updated_at: nowS() - 1_000 })
  const { tokens, auth } = world.open(t)
  await tokens.accessToken(world.account, {}, signal)
  const [recordBefore, rowBefore] = [(await world.records.read(world.account))?.record, auth.get(world.account)]
  const rekey = await rekeyOf(world, keys, auth)
  await rekey.pass(signal)
  assert.equal(rekey.resealed, 2)
  const found = await world.records.read(world.account)
  const row = auth.get(world.account)
  assert.ok(found !== null && row !== null)
  const { resealed: _said, ...record } = found.record
  assert.deepEqual({ ...record, credential: null }, { ...recordBefore, credential: null })
  const tokensGone = { accessToken: '', refreshToken: '' }
  assert.deepEqual({ ...row, ...tokensGone }, { ...rowBefore, ...tokensGone })
  const held = await openCredential(onlyK2, world.account, sealOf(found.record))
  assert.equal(held.refreshToken.reveal(), 'canary-refresh-1')
  assert.equal((await openPair(onlyK2, world.account, row)).refreshToken.reveal(), 'canary-refresh-1')

  // The watch brings the record: it is the credential that the row has, so nothing is opened and sealed once more.
  const next = world.open(t, { seal })
  await next.tokens.noteRecord(world.account, found.record, found.revision)
  assert.deepEqual(next.auth.get(world.account), { ...row, kvRev: found.revision })
  const again = await rekeyOf(world, keys, auth)
  await again.pass(signal)
  assert.equal(again.resealed, 0, 'the second pass finds nothing')
})

test('a refresh that is under way keeps its new tokens when its record is sealed anew meanwhile', async (t) => {
  const { world, keys, seal, onlyK2 } = await rotated(t)
  await world.connect(tokensOf('1', nowS()))
  const { tokens, auth } = world.open(t, { seal })
  world.server.answer = async () => {
    await (await rekeyOf(world, keys, auth)).pass(signal)
    return grantAnswer({ access_token: 'canary-access-2', refresh_token: 'canary-refresh-2', expires_in: 3600 })
  }
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-2')
  const found = await world.records.read(world.account)
  const held = await openCredential(onlyK2, world.account, sealOf(found?.record))
  assert.equal(held.refreshToken.reveal(), 'canary-refresh-2')
  const row = auth.get(world.account)
  assert.ok(row !== null)
  assert.equal((await openPair(onlyK2, world.account, row)).refreshToken.reveal(), 'canary-refresh-2')
  assert.equal(row.dirty, false)
})

test('a refreshed token that only the disk has is still brought to KV when both were sealed anew twice in between', async (t) => {
  const { world, keys, later, seal, onlyK3 } = await rotated(t)
  await world.connect(tokensOf('1', nowS()))
  const { records, begun } = stuckWrites(world.records)
  const dying = world.open(t, { seal, records })
  const stop = new AbortController()
  const lost = dying.tokens.accessToken(world.account, {}, stop.signal).catch(() => null)
  await begun
  stop.abort(new Error('crashed'))
  await lost
  for (const ring of [keys, later]) await (await rekeyOf(world, ring, dying.auth)).pass(signal)
  const found = await world.records.read(world.account)
  assert.ok(found !== null)
  assert.equal(
    (await openCredential(onlyK3, world.account, sealOf(found.record))).refreshToken.reveal(),
    'canary-refresh-1',
  )
  const next = world.open(t, { seal: createSeal(later) })
  await next.tokens.noteRecord(world.account, found.record, found.revision)
  await next.tokens.pushDirty(world.account, signal)
  const after = await world.records.read(world.account)
  const held = await openCredential(onlyK3, world.account, sealOf(after?.record))
  assert.equal(held.refreshToken.reveal(), 'canary-refresh-2')
  assert.deepEqual(next.auth.dirtyAccounts(), [])
})

test('a credential that the user hands over meanwhile holds, in the record and on the disk', async (t) => {
  const { world, keys } = await rotated(t)
  await world.connect(tokensOf('1', nowS() + 3600))
  const { tokens, auth } = world.open(t)
  await tokens.accessToken(world.account, {}, signal)
  const conflicts: boolean[] = []
  const rekey = await rekeyOf(world, keys, auth, {
    async write(account, record, revision) {
      const theirs = await world.connect(tokensOf('2', nowS() + 3600))
      const found = await world.records.read(account)
      assert.ok(found !== null)
      await tokens.noteRecord(account, found.record, theirs)
      return await world.records.write(account, record, revision).catch((error: unknown) => {
        conflicts.push(error instanceof RevisionConflict)
        throw error
      })
    },
  })
  await rekey.pass(signal)
  assert.deepEqual(conflicts, [true])
  assert.deepEqual(await world.inKv(), ['canary-access-2', 'canary-refresh-2'])
  const row = auth.get(world.account)
  assert.ok(row !== null)
  const stale = { row: { ...row, accessToken: 'another' }, accessToken: 'a', refreshToken: 'b' }
  assert.equal(auth.reseal([stale]), 0, 'a row that was replaced since it was read is left alone')
  assert.deepEqual(auth.get(world.account), row)
})

test('rows that do not open stay as they are and are told of; the others are sealed anew, a hundred at a time', async (t) => {
  const { world, keys, seal } = await rotated(t)
  const stranger = createSeal(await ringOf(keyText('k9')))
  const entries = await Promise.all(
    Array.from({ length: 203 }, async (_, i) => {
      const account = { ...world.account, userId: `user:${i}` }
      const by = i === 0 ? stranger : world.seal
      const bound = i === 1 ? world.account : account
      const record = await world.recordOf(tokensOf('1', 0))
      const credential = await by.seal(new Secret('{}'), { ...bound, field: 'credential' })
      return { account, record: { ...record, credential }, revision: i }
    }),
  )
  const { auth } = world.open(t)
  const written: string[] = []
  let [together, most] = [0, 0]
  const rekey = await rekeyOf(world, keys, auth, {
    records: () => entries,
    isMine: (userId) => userId !== 'user:2',
    async write(account, record) {
      most = Math.max(most, ++together)
      await seal.open(sealOf(record), { ...account, field: 'credential' })
      together--
      written.push(account.userId)
      return 1
    },
  })
  await Promise.all([rekey.pass(signal), rekey.pass(signal)])
  assert.deepEqual([written.length, new Set(written).size, most, rekey.resealed], [200, 200, 100, 200])
  for (const left of ['user:0', 'user:1', 'user:2']) assert.ok(!written.includes(left))
  assert.equal(world.logged.filter((line) => line.includes('cannot be sealed anew')).length, 2)
  assert.doesNotMatch(world.logged.join(''), /user:/)
})

test('rows are counted by the keys that they need; a key that none needs stands there with 0', async (t) => {
  const { world, keys } = await rotated(t)
  const clock = new ManualClock()
  const record = await world.recordOf(tokensOf('1', nowS() + 3600))
  const { tokens, auth } = world.open(t)
  await tokens.noteRecord(world.account, record, 1)
  const other = await createSeal(keys).seal(new Secret('{}'), { ...world.account, field: 'credential' })
  const all = [
    record,
    { ...record, credential: other, revoke: record.credential },
    { ...record, credential: null, revoke: null },
    { ...record, credential: 'no seal' },
  ]
  const records = (): { record: AccountRecord; revision: number }[] => all.map((one) => ({ record: one, revision: 1 }))
  const counter = new KeyCounter({ keys, auth, records, clock })
  const counts = { accounts: { k2: 1, k1: 2, [UNREADABLE]: 1 }, auth_db: { k2: 0, k1: 1 } }
  assert.deepEqual(await counter.recent(), counts)
  await (await rekeyOf(world, keys, auth)).pass(signal)
  assert.deepEqual(await counter.recent(), counts, 'who only watches is told what was counted a moment ago')
  assert.deepEqual((await counter.count()).auth_db, { k2: 1, k1: 0 })
  all.pop()
  await clock.advance(15_000)
  assert.deepEqual((await counter.recent()).accounts, { k2: 1, k1: 2 })
})

test('a token row that is copied to another user, provider or inbox does not open, in KV and on the disk', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS() + 3600))
  const { tokens, auth } = world.open(t)
  await tokens.accessToken(world.account, {}, signal)
  const [found, row] = [await world.records.read(world.account), auth.get(world.account)]
  assert.ok(found !== null && row !== null)
  const others: Partial<typeof world.account>[] = [
    { userId: `${world.account.userId}-2` },
    { provider: 'microsoft' },
    { inboxId: 'work' },
  ]
  for (const other of others) {
    const account = { ...world.account, ...other }
    auth.put({ ...row, account }, row.updatedAtS)
    await assert.rejects(tokens.accessToken(account, {}, signal), SealBrokenError, 'on the disk')
    await world.records.write(account, found.record, null)
    await assert.rejects(tokens.accessToken(account, {}, signal), SealBrokenError, 'in KV')
  }
  auth.put({ ...row, accessToken: row.refreshToken, refreshToken: row.accessToken }, row.updatedAtS)
  const swapped = auth.get(world.account)
  assert.ok(swapped !== null)
  await assert.rejects(openPair(world.seal, world.account, swapped), SealBrokenError, 'another field')
  assert.equal((await openPair(world.seal, world.account, row)).accessToken.reveal(), 'canary-access-1', 'the control')
})
