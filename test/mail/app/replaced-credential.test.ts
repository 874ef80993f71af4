/** What was learned of one credential is not written onto another that was connected meanwhile. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { createWorker, type WorkerParts } from '../../../services/mail/app/workers.ts'
import type { AccountRef } from '../../../services/mail/base/model.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import type { TokenProvider } from '../../../services/mail/token/tokens.ts'
import { steady } from '../sync/plain-worker.ts'
import { refusal } from '../token/token-server.ts'
import { Broker, nowS, tokensOf, World } from '../token/world.ts'

const signal = new AbortController().signal
let broker: Broker
before(async () => {
  broker = await Broker.start()
})
after(() => broker[Symbol.asyncDispose]())

/** What the worker of the account does when the user must sign in again. */
async function depsOf(world: World, tokens: TokenProvider) {
  const found = await world.records.read(world.account)
  assert.ok(found !== null)
  const parts: Partial<Record<keyof WorkerParts, unknown>> = {
    config: { pace: steady(1) },
    controls: {},
    providers: { byName: {}, limiter: () => null },
    accounts: world.records,
    claims: { claim: async ({ inboxId }: AccountRef) => inboxId },
    clock: systemClock,
    instance: 'a',
    tokens,
  }
  const hooks = { owns: () => true, committed: () => undefined }
  return createWorker(parts as WorkerParts, { account: world.account, ...found }, { era: 1, rev: 1 }, hooks).deps
}
const reauthOf = async (world: World): Promise<string | null> =>
  (await world.records.read(world.account))?.record.reauth?.code ?? null
const REPLACED = { name: 'RevisionConflict' }

test('a refused grant is written onto its own record, also when another field has changed', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()), { mailbox: null })
  const { tokens } = world.open(t)
  const deps = await depsOf(world, tokens)
  world.server.answer = () => refusal(400, 'invalid_grant')
  await assert.rejects(deps.tokens.accessToken(world.account, {}, signal))
  const found = await world.records.read(world.account)
  assert.ok(found !== null)
  await world.records.write(world.account, { ...found.record, mailbox: 'bound' }, found.revision)
  await deps.reauth('AUTH_EXPIRED')
  assert.equal(await reauthOf(world), 'AUTH_EXPIRED')
})

test('a refused grant does not condemn the credential that was connected meanwhile, which is used next', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens } = world.open(t)
  const deps = await depsOf(world, tokens)
  world.server.answer = () => refusal(400, 'invalid_grant')
  await assert.rejects(deps.tokens.accessToken(world.account, {}, signal))
  await world.connect(tokensOf('new', nowS() + 3600))
  await assert.rejects(deps.reauth('AUTH_EXPIRED'), REPLACED)
  assert.equal(await reauthOf(world), null)
  assert.equal((await deps.tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-new')
})

test('a token that is refused after its refresh is written onto the record, which the refresh has changed', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS() + 3600))
  const { tokens } = world.open(t)
  const deps = await depsOf(world, tokens)
  const rejected = await deps.tokens.accessToken(world.account, {}, signal)
  const renewed = await deps.tokens.accessToken(world.account, { refresh: 'force', rejected }, signal)
  assert.deepEqual(await world.inKv(), ['canary-access-2', 'canary-refresh-2'])
  deps.refused(renewed)
  await deps.reauth('AUTH_EXPIRED')
  assert.equal(await reauthOf(world), 'AUTH_EXPIRED')
})

test('such a token condemns no credential that was connected meanwhile, even when others use that already', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS() + 3600))
  const { tokens } = world.open(t)
  const deps = await depsOf(world, tokens)
  const rejected = await deps.tokens.accessToken(world.account, {}, signal)
  const renewed = await deps.tokens.accessToken(world.account, { refresh: 'force', rejected }, signal)
  const revision = await world.connect(tokensOf('new', nowS() + 3600))
  const found = await world.records.read(world.account)
  assert.ok(found !== null)
  await tokens.noteRecord(world.account, found.record, revision)
  assert.equal((await deps.tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-new')
  deps.refused(renewed)
  await assert.rejects(deps.reauth('WRONG_MAILBOX'), REPLACED)
  assert.equal(await reauthOf(world), null)
})

test('an account that was disconnected meanwhile is left as it is', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens } = world.open(t)
  const deps = await depsOf(world, tokens)
  await world.connect(tokensOf('1', 0), { desired: 'disconnected', credential: null })
  await deps.reauth('AUTH_EXPIRED')
  assert.equal(await reauthOf(world), null)
})

const OF_ADA = { mailbox: 'ada@example.com', address: 'ada@example.com' }
for (const [what, before] of [
  ['bind', { mailbox: null }],
  ['verify', { mailbox: OF_ADA.mailbox, unverified: true }],
] as const)
  test(`the mailbox that a credential opens does not ${what} the one that was connected meanwhile`, async (t) => {
    const world = await World.start(t, broker)
    await world.connect(tokensOf('1', nowS() + 3600), before)
    const { tokens } = world.open(t)
    const deps = await depsOf(world, tokens)
    const asked = await deps.tokens.accessToken(world.account, {}, signal)
    await world.connect(tokensOf('of-bob', nowS() + 3600), before)
    await assert.rejects(deps.bind(OF_ADA, asked), { name: 'RevisionConflict' })
    const found = (await world.records.read(world.account))?.record
    assert.deepEqual([found?.mailbox ?? null, found?.unverified], [before.mailbox, 'unverified' in before || undefined])
    assert.equal((await deps.tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-of-bob')
  })

test('the mailbox that the current credential opens binds and verifies it', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS() + 3600), { mailbox: null, unverified: true })
  const { tokens } = world.open(t)
  const deps = await depsOf(world, tokens)
  const asked = await deps.tokens.accessToken(world.account, {}, signal)
  assert.equal(await deps.bind(OF_ADA, asked), true)
  const found = (await world.records.read(world.account))?.record
  assert.deepEqual([found?.mailbox, found?.unverified], [OF_ADA.mailbox, undefined])
})
