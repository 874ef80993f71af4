import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { sealCredential } from '../../../services/mail/token/credential.ts'
import { NotConnectedError } from '../../../services/mail/token/vault.ts'
import { AppError } from '../../../shared/errors.ts'
import { grantAnswer } from './token-server.ts'
import { Broker, nowS, stuckWrites, tokensOf, World } from './world.ts'

const signal = new AbortController().signal
let broker: Broker
before(async () => {
  broker = await Broker.start()
})
after(() => broker[Symbol.asyncDispose]())

const FIRST = ['canary-access-1', 'canary-refresh-1']
const SECOND = ['canary-access-2', 'canary-refresh-2']

test('a token that is good for more than five minutes is used as it is, and mirrored on disk', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS() + 400))
  const { tokens, auth } = world.open(t)
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-1')
  assert.deepEqual(await world.onDisk(auth), FIRST)
  assert.equal(world.server.forms.length, 0)
  world.advanceS(101)
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-2')
})

test('twenty calls at once make one refresh, whose tokens are in the record and on disk', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens, auth } = world.open(t)
  const calls = Array.from({ length: 20 }, () => tokens.accessToken(world.account, {}, signal))
  for (const token of await Promise.all(calls)) assert.equal(token.reveal(), 'canary-access-2')
  assert.equal(world.server.forms.length, 1)
  assert.deepEqual(await world.inKv(), SECOND)
  assert.deepEqual(await world.onDisk(auth), SECOND)
  assert.equal(auth.get(world.account)?.dirty, false)
  assert.equal(auth.get(world.account)?.kvRev, (await world.records.read(world.account))?.revision)
  assert.deepEqual(world.outcomes, ['ok'])
})

test('a refused token is refreshed once, and not at all when another one holds already', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS() + 3600))
  const { tokens } = world.open(t)
  const rejected = await tokens.accessToken(world.account, {}, signal)
  const force = { refresh: 'force', rejected } as const
  const calls = Array.from({ length: 5 }, () => tokens.accessToken(world.account, force, signal))
  for (const token of await Promise.all(calls)) assert.equal(token.reveal(), 'canary-access-2')
  assert.equal((await tokens.accessToken(world.account, force, signal)).reveal(), 'canary-access-2')
  assert.equal(world.server.forms.length, 1)
  assert.equal(
    (await tokens.accessToken(world.account, { refresh: 'force' }, signal)).reveal(),
    'canary-access-3',
    'force without a refused token always refreshes',
  )
})

test('the new refresh token is on disk before it is in KV, and in KV before it is used', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const seen: (string[] | boolean | undefined)[] = []
  const real = world.records
  const { tokens, auth } = world.open(t, {
    records: {
      read: (account) => real.read(account),
      async write(account, record, revision) {
        seen.push(await world.onDisk(auth), auth.get(world.account)?.dirty, await world.inKv())
        return real.write(account, record, revision)
      },
    },
  })
  await tokens.accessToken(world.account, {}, signal)
  assert.deepEqual(seen, [SECOND, true, FIRST])
  assert.deepEqual(await world.inKv(), SECOND)
})

test('a rotated refresh token survives a crash between auth.db and KV', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { records, begun } = stuckWrites(world.records)
  const dying = world.open(t, { records })
  const stop = new AbortController()
  const lost = tokenOrReason(dying.tokens.accessToken(world.account, {}, stop.signal))
  await begun
  stop.abort(new Error('crashed'))
  assert.match(String(await lost), /crashed/)
  assert.deepEqual(await world.inKv(), FIRST)

  const next = world.open(t)
  assert.deepEqual(next.auth.dirtyAccounts(), [world.account])
  await next.tokens.pushDirty(world.account, signal)
  assert.deepEqual(await world.inKv(), SECOND)
  assert.deepEqual(next.auth.dirtyAccounts(), [])
  assert.equal((await next.tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-2')
  assert.equal(world.server.forms.length, 1)
})

test('after such a crash a change beside the credential is no reason to lose it, a new credential is', async (t) => {
  for (const reconnected of [false, true]) {
    const world = await World.start(t, broker)
    await world.connect(tokensOf('1', nowS()))
    const { tokens, auth, records } = world.open(t)
    await tokens.accessToken(world.account, {}, signal)
    const row = auth.get(world.account)
    const found = await world.records.read(world.account)
    assert.ok(row !== null && found !== null)
    // The crash left the row of a third token that started from the record as it is.
    const [accessToken, refreshToken] = await Promise.all([
      world.seal.seal(tokensOf('3', 0).accessToken, { ...world.account, field: 'access_token' }),
      world.seal.seal(tokensOf('3', 0).refreshToken, { ...world.account, field: 'refresh_token' }),
    ])
    auth.put({ ...row, accessToken, refreshToken, dirty: true }, nowS())
    if (reconnected) await world.connect(tokensOf('4', nowS() + 3600))
    else await records.write(world.account, { ...found.record, mailbox: 'bound' }, found.revision, signal)
    await tokens.pushDirty(world.account, signal)
    const name = reconnected ? '4' : '3'
    assert.deepEqual(await world.inKv(), [`canary-access-${name}`, `canary-refresh-${name}`])
    assert.deepEqual(await world.onDisk(auth), await world.inKv())
    if (!reconnected) assert.equal((await world.records.read(world.account))?.record.mailbox, 'bound')
  }
})

test('a lost compare-and-set takes the credential of the others', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens, auth } = world.open(t)
  world.server.answer = async () => {
    await world.connect(tokensOf('theirs', nowS() + 3600))
    return grantAnswer({ access_token: 'canary-access-ours', expires_in: 3600 })
  }
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-theirs')
  assert.deepEqual(await world.inKv(), ['canary-access-theirs', 'canary-refresh-theirs'])
  assert.deepEqual(await world.onDisk(auth), await world.inKv())
  assert.deepEqual(auth.dirtyAccounts(), [])
})

test('a compare-and-set lost to a change beside the credential keeps both', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()), { mailbox: null })
  const { tokens } = world.open(t)
  world.server.answer = async () => {
    const found = await world.records.read(world.account)
    assert.ok(found !== null)
    await world.records.write(world.account, { ...found.record, mailbox: 'bound' }, found.revision)
    return grantAnswer({ access_token: 'canary-access-2', expires_in: 3600 })
  }
  await tokens.accessToken(world.account, {}, signal)
  assert.deepEqual(await world.inKv(), ['canary-access-2', 'canary-refresh-1'])
  assert.equal((await world.records.read(world.account))?.record.mailbox, 'bound')
})

test('while KV is away the credential on disk is used and refreshed, and brought to KV afterwards', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS() + 3600))
  const { tokens, auth } = world.open(t)
  await tokens.accessToken(world.account, {}, signal)
  world.broker.proxy.cut()
  tokens.invalidate(world.account)
  assert.equal((await tokens.accessToken(world.account, { refresh: 'force' }, signal)).reveal(), 'canary-access-2')
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-2')
  assert.equal(auth.get(world.account)?.dirty, true)
  assert.doesNotMatch(world.shown(), /canary/)
  const back = (async () => {
    for await (const status of world.broker.nc.status()) if (status.type === 'reconnect') return
  })()
  world.broker.proxy.heal()
  await back
  assert.deepEqual(await world.inKv(), FIRST)
  await tokens.pushDirty(world.account, signal)
  assert.deepEqual(await world.inKv(), SECOND)
  assert.equal(auth.get(world.account)?.dirty, false)
})

test('a caller who gives up does not end the refresh of the others', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens } = world.open(t)
  const stop = new AbortController()
  const reason = new Error('stopped')
  world.server.answer = () => {
    stop.abort(reason)
    return grantAnswer({ access_token: 'canary-access-2', refresh_token: 'canary-refresh-2', expires_in: 3600 })
  }
  const first = tokenOrReason(tokens.accessToken(world.account, {}, stop.signal))
  const second = tokens.accessToken(world.account, {}, signal)
  assert.equal(await first, reason)
  assert.equal((await second).reveal(), 'canary-access-2')
  assert.deepEqual(await world.inKv(), SECOND)
})

test('closing finishes a refresh that is under way and refuses new ones', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens } = world.open(t)
  const asked = Promise.withResolvers<void>()
  const answer = world.server.answer
  world.server.answer = (form, request) => {
    asked.resolve()
    return answer(form, request)
  }
  const running = tokens.accessToken(world.account, {}, signal)
  await asked.promise
  await tokens[Symbol.asyncDispose]()
  assert.deepEqual(await world.inKv(), SECOND)
  assert.equal((await running).reveal(), 'canary-access-2')
  await assert.rejects(tokens.accessToken(world.account, {}, signal), /closed/)
})

test('an account that is disconnected, or a provider without client, gives no token', async (t) => {
  const world = await World.start(t, broker)
  const { tokens, auth } = world.open(t)
  await assert.rejects(tokens.accessToken(world.account, {}, signal), NotConnectedError)
  await world.connect(tokensOf('1', nowS() + 3600))
  await tokens.accessToken(world.account, {}, signal)
  await world.connect(tokensOf('1', 0), { desired: 'disconnected', credential: null })
  tokens.invalidate(world.account)
  await assert.rejects(tokens.accessToken(world.account, {}, signal), NotConnectedError)
  assert.equal(auth.get(world.account), null)
  const other = { ...world.account, provider: 'microsoft' } as const
  const credential = await sealCredential(world.seal, other, tokensOf('1', 0))
  await world.records.write(other, { ...(await world.recordOf(tokensOf('1', 0))), credential }, null)
  const error = await tokenOrReason(tokens.accessToken(other, {}, signal))
  assert.ok(error instanceof AppError && error.code === 'PROVIDER_NOT_CONFIGURED')
})

test('a disconnect during a refresh wins, and the refreshed token is nowhere afterwards', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens, auth } = world.open(t)
  world.server.answer = async () => {
    await world.connect(tokensOf('1', 0), { desired: 'disconnected', credential: null })
    tokens.forget(world.account)
    return grantAnswer({ access_token: 'canary-access-2', expires_in: 3600 })
  }
  await assert.rejects(tokens.accessToken(world.account, {}, signal), NotConnectedError)
  assert.deepEqual([await world.inKv(), await world.onDisk(auth)], [[], []])
  await assert.rejects(tokens.accessToken(world.account, {}, signal), NotConnectedError)
})

test('no file of auth.db holds a token in the clear, in any encoding', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens } = world.open(t)
  await tokens.accessToken(world.account, {}, signal)
  const files = await Promise.all(['auth.db', 'auth.db-wal'].map((name) => readFile(join(world.dir, 'one', name))))
  const bytes = Buffer.concat(files)
  assert.ok(bytes.includes('oauth_tokens'))
  const canary = Buffer.from('canary-')
  for (const text of ['canary-', canary.toString('base64').slice(0, 8), canary.toString('hex')])
    assert.ok(!bytes.includes(text), text)
  assert.ok(!bytes.includes(Buffer.from('canary-', 'utf16le')))
})

const tokenOrReason = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error)
