import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { GrantError } from '../../../services/mail/token/grant-error.ts'
import { type Answer, grantAnswer, refusal } from './token-server.ts'
import { Broker, nowS, tokensOf, World } from './world.ts'

const signal = new AbortController().signal
let broker: Broker
before(async () => {
  broker = await Broker.start()
})
after(() => broker[Symbol.asyncDispose]())

const failure = async (work: Promise<unknown>): Promise<GrantError> => {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof GrantError, String(error))
  return error
}
const RESETS: Answer = 'reset'

for (const [name, answer, holdsS] of [
  ['429 with an announced time', refusal(429, 'slow_down', { 'retry-after': '60' }), 60],
  ['503 with an announced time', refusal(503, 'server_error', { 'retry-after': '60' }), 60],
  ['a refused client', refusal(401, 'invalid_client'), 60],
  ['503 without a time', refusal(503, 'server_error'), 5],
  ['a cut connection', RESETS, 5],
] as const)
  test(`after ${name} the token endpoint is asked once by fifty lanes, and again when the time is over`, async (t) => {
    const world = await World.start(t, broker)
    await world.connect(tokensOf('1', nowS()))
    const { tokens } = world.open(t)
    const good = world.server.answer
    world.server.answer = () => answer
    const first = await failure(tokens.accessToken(world.account, {}, signal))
    for (let lane = 2; lane <= 50; lane++) {
      const error = await failure(tokens.accessToken(world.account, {}, signal))
      assert.deepEqual([error.kind, error.code, error.status], [first.kind, first.code, first.status])
      assert.ok((error.retryAfterMs ?? 0) > 0 && (error.retryAfterMs ?? 0) <= holdsS * 1_000)
    }
    assert.equal(world.server.forms.length, 1)
    assert.deepEqual(world.outcomes, [first.kind], 'only what was asked is counted')
    world.server.answer = good
    world.advanceS(holdsS - 2)
    await failure(tokens.accessToken(world.account, {}, signal))
    world.advanceS(3)
    assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-2')
    assert.equal(world.server.forms.length, 2)
  })

test('a new credential is used at once, whatever the endpoint said of the one before', async (t) => {
  const world = await World.start(t, broker)
  await world.connect(tokensOf('1', nowS()))
  const { tokens } = world.open(t)
  world.server.answer = () => refusal(503, 'server_error', { 'retry-after': '60' })
  await failure(tokens.accessToken(world.account, {}, signal))
  const revision = await world.connect(tokensOf('new', nowS()))
  await tokens.noteRecord(world.account, await world.recordOf(tokensOf('new', nowS())), revision)
  world.server.answer = () => grantAnswer({ access_token: 'canary-access-new-2', expires_in: 3600 })
  assert.equal((await tokens.accessToken(world.account, {}, signal)).reveal(), 'canary-access-new-2')
})

test('what is refused to everybody holds for the other accounts of the provider, what is refused to one does not', async (t) => {
  for (const [answer, forAll] of [
    [refusal(429, 'slow_down', { 'retry-after': '60' }), true],
    [refusal(401, 'invalid_client'), true],
    [refusal(503, 'server_error', { 'retry-after': '60' }), false],
    [refusal(400, 'unauthorized_client'), false],
  ] as const) {
    const world = await World.start(t, broker)
    await world.connect(tokensOf('1', nowS()))
    const { tokens } = world.open(t)
    const other = await world.connectOther(tokensOf('other', nowS()))
    world.server.answer = () => answer
    await failure(tokens.accessToken(world.account, {}, signal))
    world.server.answer = () => grantAnswer({ access_token: 'canary-access-other-2', expires_in: 3600 })
    if (forAll) await failure(tokens.accessToken(other, {}, signal))
    else assert.equal((await tokens.accessToken(other, {}, signal)).reveal(), 'canary-access-other-2')
  }
})
