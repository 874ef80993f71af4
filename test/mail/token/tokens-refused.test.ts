import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { GrantError } from '../../../services/mail/token/grant-error.ts'
import { grantAnswer, refusal } from './token-server.ts'
import { Broker, nowS, tokensOf, World } from './world.ts'

const signal = new AbortController().signal
let broker: Broker
before(async () => {
  broker = await Broker.start()
})
after(() => broker[Symbol.asyncDispose]())

const FIRST = ['canary-access-1', 'canary-refresh-1']
const isReauth = (error: unknown): boolean => error instanceof GrantError && error.kind === 'reauth'

test('a refused grant is thrown when nobody else refreshed, and theirs is used when somebody did', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens } = world.open(t)
  world.server.answer = () => refusal(400, 'invalid_grant')
  await assert.rejects(tokens.accessToken(world.account, {}, signal), isReauth)
  assert.deepEqual(await world.inKv(), FIRST)
  assert.equal(world.server.forms.length, 1)
  world.server.answer = async () => {
    await world.connect(tokensOf('theirs', nowS() + 3600))
    return refusal(400, 'invalid_grant')
  }
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-theirs')
  assert.deepEqual(world.outcomes, ['reauth', 'reauth'])
})

test('a credential of others that has ended too is refreshed once more', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens } = world.open(t)
  world.server.answer = async (form) => {
    if (form.get('refresh_token') === 'canary-refresh-theirs')
      return grantAnswer({ access_token: 'canary-access-2', expires_in: 3600 })
    await world.connect(tokensOf('theirs', nowS()))
    return refusal(400, 'invalid_grant')
  }
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-2')
  assert.deepEqual(await world.inKv(), ['canary-access-2', 'canary-refresh-theirs'])
})

test('faults of the client or the server are thrown as such and change nothing', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens, auth } = world.open(t)
  const errors: unknown[] = []
  for (const answer of [refusal(401, 'invalid_client'), refusal(503, 'server_error', { 'retry-after': '9' })]) {
    world.server.answer = () => answer
    const error = await tokenOrReason(tokens.accessToken(world.account, {}, signal))
    assert.ok(error instanceof GrantError)
    errors.push(error)
    world.advanceS(61)
  }
  assert.deepEqual(world.outcomes, ['config', 'transient'])
  assert.deepEqual(await world.inKv(), FIRST)
  assert.deepEqual(await world.onDisk(auth), FIRST)
  assert.doesNotMatch(world.shown(errors, tokens, auth.get(world.account)), /canary/)
})

const tokenOrReason = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error)
