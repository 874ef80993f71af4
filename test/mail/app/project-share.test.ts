/** The quota of the whole project, shared by instances that come and go, against the simulator's ledger. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BUCKET_LEASES } from '#shared/subjects.ts'
import { followProjectShare } from '../../../services/mail/app/project-share.ts'
import { createProviders, type Providers } from '../../../services/mail/app/providers.ts'
import { readConfig } from '../../../services/mail/base/config.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { LeaseLog } from '../../../services/mail/kv/lease-log.ts'
import { createLedger, type LedgerSnapshot } from '../../simulator/ledger.ts'
import { startProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { kvBox, log } from '../kv/support.ts'
import { aside, record } from '../owner/member.ts'

const PROJECT_PER_MIN = 6_000
const GET_UNITS = 20
const CONFIG = readConfig({
  BETTER_AUTH_JWKS_URL: 'http://127.0.0.1:9/jwks',
  MAIL_GMAIL_UNITS_PER_MIN: '600000',
  MAIL_GMAIL_PROJECT_UNITS_PER_MIN: String(PROJECT_PER_MIN),
})

/** Instances that fetch as fast as they may, all out of one project. */
class Fleet {
  readonly clock = new ManualClock()
  readonly #ledger = createLedger(
    { profile: 'fast', graceMs: 0, monoMs: () => this.clock.monoMs(), projectPerMin: PROJECT_PER_MIN },
    { now: () => this.clock.wallMs(), advance: () => undefined },
  )
  readonly #instances = new Map<string, { providers: Providers; stop: AbortController; done: Promise<unknown> }>()
  readonly #divided: boolean

  constructor(divided: boolean) {
    this.#divided = divided
  }

  join(name: string): void {
    const providers = createProviders(CONFIG, this.clock, {})
    const stop = new AbortController()
    const done = Promise.all([1, 2].map((i) => this.#fetch(providers, `${name}-${i}`, stop.signal)))
    this.#instances.set(name, { providers, stop, done })
    this.#divide()
  }
  async leave(name: string): Promise<void> {
    const instance = this.#instances.get(name)
    this.#instances.delete(name)
    instance?.stop.abort(new Error('left'))
    await instance?.done
    await instance?.providers[Symbol.asyncDispose]()
    this.#divide()
  }
  get project(): LedgerSnapshot['project'] & { overdraft: number } {
    const { project, overdraft } = this.#ledger.snapshot()
    return { ...project, overdraft }
  }
  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of [...this.#instances.keys()]) await this.leave(name)
  }

  #divide(): void {
    if (this.#divided)
      for (const { providers } of this.#instances.values()) providers.divideProject(this.#instances.size)
  }
  async #fetch(providers: Providers, userId: string, signal: AbortSignal): Promise<void> {
    const limiter = providers.limiter({
      account: { userId, provider: 'google', inboxId: 'primary' },
      mailbox: () => null,
    })
    while (!signal.aborted)
      await limiter
        .run(GET_UNITS, 'backfill', signal, async () => {
          this.#ledger.charge('google', userId, 'gmail.messages.get', true)
        })
        .catch((error) => signal.aborted || Promise.reject(error))
  }
}

/** One instance that has used its burst, two that join, one that is restarted, one that leaves. */
async function comingAndGoing(divided: boolean): Promise<{ overdraft: number; used: number }> {
  await using fleet = new Fleet(divided)
  fleet.join('a')
  await fleet.clock.advance(65_000)
  fleet.join('b')
  await fleet.clock.advance(10_000)
  fleet.join('c')
  await fleet.clock.advance(30_000)
  for (const name of ['a', 'b', 'c']) {
    await fleet.leave(name)
    fleet.join(name)
    await fleet.clock.advance(2_000)
  }
  await fleet.clock.advance(60_000)
  await fleet.leave('a')
  await fleet.leave('b')
  await fleet.clock.advance(65_000)
  return fleet.project
}

describe('the quota of a project', { concurrency: 3 }, () => {
  test('is never overdrawn while instances join, are restarted and leave, and the one that stays uses all of it', async () => {
    const { overdraft, used } = await comingAndGoing(true)
    assert.equal(overdraft, 0)
    assert.ok(used >= 0.75 * PROJECT_PER_MIN, `the last instance used ${used} in the last minute`)
  })

  test('control: undivided it is overdrawn', async () => {
    assert.ok((await comingAndGoing(false)).overdraft > 0)
  })

  test('is divided by the instances that are live or draining; who does not see them all keeps its share', async () => {
    await using box = await kvBox()
    await using proxy = await startProxy(box.server.port)
    const others = await aside(box)
    const bucket = await Bucket.open(await box.connect('mailsync', proxy.port), BUCKET_LEASES)
    const leases = new LeaseLog(() => bucket, systemClock, log)
    const divisors: number[] = []
    followProjectShare({ leases, providers: { divideProject: (n) => divisors.push(n) }, instance: 'own' })
    const stop = new AbortController()
    const running = leases.run(stop.signal)
    await using _watching = {
      async [Symbol.asyncDispose]() {
        stop.abort()
        await running
      },
    }
    const shared = (n: number): Promise<unknown> => until(`it is divided by ${n}`, () => divisors.at(-1) === n)
    await until('it sees the others', () => leases.replica.fresh)
    let revision = await others.writeSession('s1', record('own'), null, 1_000)
    await shared(1)
    await others.writeSession('s2', record('b', { state: 'draining' }), null, 1_000)
    await shared(2)
    const third = await others.writeSession('s3', record('c'), null, 1_000)
    await shared(3)
    await others.writeSession('s4', record('c'), null, 1_000)
    await others.writeSession('s5', record('d', { state: 'dead' }), null, 1_000)
    revision = await others.writeSession('s1', record('own'), revision, 1_000)
    await until('it has seen all', () => leases.sessions.size === 5)
    assert.equal(divisors.at(-1), 3, 'of two with one name one counts, and none that is dead')

    leases.replica.clear()
    assert.deepEqual([leases.sessions.size, divisors.at(-1)], [0, 3], 'it sees nobody, and knows that')
    await until('it sees the others again', () => leases.replica.fresh)
    await others.writeSession('s1', record('own'), revision, 1_000)
    await shared(3)
    await others.removeSession('s3', third)
    await others.removeSession('s4', (await others.readSession('s4'))?.revision ?? 0)
    await shared(2)
  })
})
