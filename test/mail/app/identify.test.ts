/** A connect asks the provider whose mailbox it is, but never inside a pause that was announced to this instance. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Secret } from '#shared/secret.ts'
import { type Grants, openGrants } from '../../../services/mail/app/grants.ts'
import { createProviders, type Providers } from '../../../services/mail/app/providers.ts'
import { readConfig } from '../../../services/mail/base/config.ts'
import type { AccountRef } from '../../../services/mail/base/model.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { type Call, ProviderError } from '../../../services/mail/provider/provider.ts'
import { type Simulator, startSimulator } from '../../simulator/simulator.ts'

const signal = new AbortController().signal
const LONG_S = 600
const ada: AccountRef = { userId: 'ada', provider: 'google', inboxId: 'primary' }
const bob: AccountRef = { userId: 'bob', provider: 'google', inboxId: 'primary' }

/** An instance with its providers, and mailboxes at the simulator. */
class Box implements AsyncDisposable {
  readonly sim: Simulator
  readonly providers: Providers
  readonly #grants: Grants
  #shiftMs = 0

  private constructor(sim: Simulator) {
    this.sim = sim
    const config = readConfig({ BETTER_AUTH_JWKS_URL: 'http://127.0.0.1:1/jwks', ...sim.env })
    const clock = { ...systemClock, monoMs: () => performance.now() + this.#shiftMs }
    this.#grants = openGrants(config, clock)
    this.providers = createProviders(config, clock, this.#grants.clients)
  }
  static async start(): Promise<Box> {
    return new Box(await startSimulator({ graceMs: 0 }))
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.providers[Symbol.asyncDispose]()
    await this.#grants[Symbol.asyncDispose]()
    await this.sim[Symbol.asyncDispose]()
  }
  advanceS(seconds: number): void {
    this.#shiftMs += seconds * 1_000
  }
  tokens({ userId, provider }: AccountRef) {
    const { access_token, refresh_token } = this.sim.addMailbox({ user: userId, provider, n: 1 })
    return { accessToken: new Secret(access_token), refreshToken: new Secret(refresh_token), expiresAtS: 9e9 }
  }
  /** The mailbox as a connect finds it; null = the worker is to ask. */
  async connect(account: AccountRef, tokens: ReturnType<Box['tokens']>, mailbox: string | null = null) {
    return (await this.providers.identify(account, mailbox, tokens, signal)).identity?.mailbox ?? null
  }
  /** What the account's worker meets: the provider throttles it. */
  async throttled(account: AccountRef, accessToken: Secret, mailbox: string | null = null): Promise<void> {
    this.sim.faults.add({ match: { nth: 1 }, fault: { type: '429', retryAfter: LONG_S } })
    const limiter = this.providers.limiter({ account, mailbox: () => mailbox })
    const call: Call = { accessToken, limiter, priority: 'backfill', signal }
    await assert.rejects(this.providers.byName[account.provider].identify(call), ProviderError)
  }
}

for (const provider of ['google', 'microsoft'] as const)
  test(`${provider}: connecting again in the pause of its worker asks nothing, and asks when the pause is over`, async () => {
    await using box = await Box.start()
    const account = { ...ada, provider }
    const tokens = box.tokens(account)
    await box.throttled(account, tokens.accessToken)
    assert.equal(await box.connect(account, tokens), null)
    assert.equal(box.sim.log().length, 1)
    assert.equal(box.sim.ledger().earlyRetries, 0)
    box.advanceS(LONG_S + 1)
    assert.notEqual(await box.connect(account, tokens), null)
  })

test('a pause of the bound mailbox holds for another user of it, and for no other mailbox', async () => {
  await using box = await Box.start()
  const [adas, bobs] = [box.tokens(ada), box.tokens(bob)]
  await box.throttled(ada, adas.accessToken, 'shared@example.com')
  assert.equal(await box.connect(bob, bobs, 'shared@example.com'), null)
  assert.equal(box.sim.log().length, 1)
  assert.notEqual(await box.connect(bob, bobs, 'other@example.com'), null)
})

test('a pause of the whole project holds for everybody at that provider, and for nobody else', async () => {
  await using box = await Box.start()
  box.providers.pauseProject('google', LONG_S * 1_000)
  assert.equal(await box.connect(bob, box.tokens(bob)), null)
  assert.equal(box.sim.log().length, 0)
  const other = { ...bob, provider: 'microsoft' as const }
  assert.notEqual(await box.connect(other, box.tokens(other)), null)
})

test('what a connect is told to wait holds for the next connect and for the worker that starts', async () => {
  await using box = await Box.start()
  const tokens = box.tokens(ada)
  box.sim.faults.add({ match: { nth: 1 }, fault: { type: '429', retryAfter: LONG_S } })
  assert.equal(await box.connect(ada, tokens), null)
  assert.equal(await box.connect(ada, tokens), null)
  assert.equal(box.sim.log().length, 1)
  assert.ok(box.providers.limiter({ account: ada, mailbox: () => null }).pausedMs > (LONG_S - 10) * 1_000)
})

test('a provider that does not answer is asked later, by the worker; a fault of ours is told at once', async () => {
  await using box = await Box.start()
  const tokens = box.tokens(ada)
  box.sim.faults.add({ match: { nth: 1 }, fault: { type: 'hang' } })
  assert.equal(await box.connect(ada, tokens), null)
  const broken = { ...tokens, accessToken: new Secret('not\nfor a header') }
  await assert.rejects(box.connect(ada, broken), TypeError)
})
