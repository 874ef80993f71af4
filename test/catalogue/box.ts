/**
 * One mailbox on the simulator in virtual time, with everything of the service between a provider and a user's database:
 * client library, adapter, quota, tokens, worker, store. It judges what is stored; it never reaches into the worker.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { AccountStatus } from '#shared/contract.ts'
import type { EmailReceived } from '#shared/event.ts'
import { createLog } from '#shared/log.ts'
import { Secret } from '#shared/secret.ts'
import { openGrants } from '../../services/mail/app/grants.ts'
import { createProviders, type Providers } from '../../services/mail/app/providers.ts'
import { readConfig } from '../../services/mail/base/config.ts'
import type { AccountRef, Epoch } from '../../services/mail/base/model.ts'
import { createTelemetry } from '../../services/mail/base/telemetry.ts'
import { AuthStore } from '../../services/mail/store/auth-store.ts'
import { sql } from '../../services/mail/store/drizzle.ts'
import { emailReceivedEvents as mails, outbox } from '../../services/mail/store/schema/user.ts'
import type { UserStore, UserTx } from '../../services/mail/store/user-store.ts'
import { accountStatus } from '../../services/mail/sync/status.ts'
import { Worker } from '../../services/mail/sync/worker.ts'
import { loadKeys } from '../../services/mail/token/keys.ts'
import { createSeal } from '../../services/mail/token/seal.ts'
import { TokenProvider } from '../../services/mail/token/tokens.ts'
import { storeBox } from '../mail/store/support.ts'
import { steady } from '../mail/sync/plain-worker.ts'
import { type Simulator, type SimulatorOptions, startSimulator } from '../simulator/simulator.ts'
import type { Fault, MailboxSpec, Mutation, Overrides, ProviderName, Rule } from '../simulator/types.ts'
import { OneRecord } from './one-record.ts'
import { VirtualNet } from './virtual-net.ts'

const USER = 'ada'
const SLOT = 0.5
/** Longer than an answer takes: what was sent before a pause was read is not early. */
const GRACE_MS = 250
const KEY = `k1:${Buffer.alloc(32, 7).toString('base64url')}`
const log = createLog('test', process.env.TEST_LOG ?? 'silent')

export type BoxOptions = SimulatorOptions &
  Pick<MailboxSpec, 'mix' | 'folders'> & {
    /** Seeded mails; default 40. */
    n?: number
    /** Default 30 s, as the service has it. */
    intervalMs?: number
    /** Further variables of the environment. */
    env?: (sim: Simulator) => Record<string, string>
  }

/** A state, from when on it showed. */
export type Seen = { atMs: number; state: AccountStatus['state']; code: string | null }
type Change = Mutation extends infer One ? (One extends Mutation ? Omit<One, 'user' | 'provider'> : never) : never

type Parts = {
  net: VirtualNet
  sim: Simulator
  store: UserStore
  providers: Providers
  tokens: TokenProvider
  records: OneRecord
}

export class Box implements AsyncDisposable {
  readonly provider: ProviderName
  readonly account: AccountRef
  readonly net: VirtualNet
  readonly sim: Simulator
  readonly store: UserStore
  readonly records: OneRecord
  /** Each state that showed, at every moment at which everything had come to rest. */
  readonly seen: Seen[] = []
  readonly #parts: Parts
  readonly #stack: AsyncDisposableStack
  readonly #intervalMs: number
  #epoch: Epoch = { era: 1000, rev: 0 }
  #running: { worker: Worker; stop: AbortController; done: Promise<void> } | null = null

  private constructor(provider: ProviderName, parts: Parts, stack: AsyncDisposableStack, intervalMs: number) {
    this.provider = provider
    this.account = parts.records.account
    this.#parts = parts
    this.net = parts.net
    this.sim = parts.sim
    this.store = parts.store
    this.records = parts.records
    this.#stack = stack
    this.#intervalMs = intervalMs
    this.net.onRest = () => this.#look()
  }

  /** A connected mailbox whose worker runs as the clock is moved. */
  static async open(provider: ProviderName, options: BoxOptions = {}): Promise<Box> {
    const { n = 40, mix = {}, folders, intervalMs = 30_000, env = () => ({}), onAnswer, ...simulator } = options
    await using stack = new AsyncDisposableStack()
    const net = new VirtualNet()
    const sim = stack.use(
      await startSimulator({
        profile: '2026-05',
        graceMs: GRACE_MS,
        now: () => net.clock.wallMs(),
        time: net.time,
        onAnswer: (...answer) => {
          net.arrived()
          onAnswer?.(...answer)
        },
        ...simulator,
      }),
    )
    const { store, dataDir } = stack.use(storeBox())
    const config = readConfig({
      BETTER_AUTH_JWKS_URL: 'http://127.0.0.1:1/jwks',
      ...{ GOOGLE_CLIENT_ID: 'client', GOOGLE_CLIENT_SECRET: 'secret' },
      ...{ MICROSOFT_CLIENT_ID: 'client', MICROSOFT_CLIENT_SECRET: 'secret' },
      ...sim.env,
      ...env(sim),
    })
    const { clients } = stack.use(openGrants(config, net.clock, net.connect))
    const providers = stack.use(createProviders(config, net.clock, clients, net.connect))
    const keys = { keys: new Secret(KEY), production: true, dataDir: dataDir, kidsInUse: [] }
    const seal = createSeal(await loadKeys(keys, log))
    const auth = stack.use(new AuthStore(join(dataDir, 'auth.db')))
    const records = new OneRecord({ userId: USER, provider, inboxId: 'primary' }, seal, net.clock)
    await records.connect(sim.addMailbox({ user: USER, provider, n, mix, ...(folders && { folders }) }))
    const vault = { auth, records, seal, clock: net.clock, log, bucketCreatedMs: () => 1, clients }
    const tokens = stack.use(new TokenProvider(vault))
    const box = new Box(provider, { net, sim, store, providers, tokens, records }, stack.move(), intervalMs)
    box.start()
    return box
  }

  /** A new owner of the user: what a crash or a hand-over leaves is what stands in the database. */
  start(): void {
    const { net, store, providers, tokens, records } = this.#parts
    const { account } = this
    this.#epoch = { ...this.#epoch, rev: this.#epoch.rev + 1 }
    store.adopt(account.userId, this.#epoch)
    const stop = new AbortController()
    const worker = new Worker(account, this.#epoch, {
      provider: providers.byName[account.provider],
      limiter: providers.limiter({ account, mailbox: () => records.record.mailbox }),
      tokens: { accessToken: (...request) => net.token(tokens.accessToken(...request)) },
      store,
      clock: net.clock,
      log,
      telemetry: createTelemetry(log, () => ({ accounts: {}, outboxPending: 0, users: 0 })),
      pace: steady(this.#intervalMs),
      slot: SLOT,
      owns: () => true,
      sharers: () => 1,
      bind: async ({ mailbox, address }) => records.bind(mailbox, address),
      bound: { mailbox: records.record.mailbox, address: records.record.address },
      refused: (accessToken) => tokens.noteRefused(account, accessToken),
      reauth: async (code) => records.markReauth(code),
      committed: () => undefined,
      projectThrottled: (ms) => providers.pauseProject(account.provider, ms),
      auditSubject: async () => ({ cursor: null, settle: () => [] }),
      random: () => 0.5,
    })
    const done = worker.run(stop.signal)
    done.catch(() => undefined)
    this.#running = { worker, stop, done }
  }

  /** What the worker that runs now will have ended by. */
  watch(): { endedBy: unknown } {
    const watched: { endedBy: unknown } = { endedBy: null }
    this.#running?.done.catch((error: unknown) => {
      watched.endedBy = error
    })
    return watched
  }

  /** Writes into the user's database, as the present owner. */
  write(change: (tx: UserTx) => void): void {
    this.store.commit(this.account.userId, this.#epoch, change)
  }

  /** Stops the worker wherever it is, as a killed process would. */
  async kill(): Promise<void> {
    this.#running?.stop.abort(new Error('killed'))
    await this.#running?.done
    this.#running = null
  }

  /** The user signs in again. */
  async reconnect(): Promise<void> {
    await this.kill()
    await this.records.connect(this.sim.credentials(USER, this.provider))
    this.#parts.tokens.invalidate(this.account)
    this.start()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing waits for an answer any more, which no clock would bring.
    await this.sim.close()
    await this.kill()
    await this.#stack[Symbol.asyncDispose]()
  }

  advance(ms: number): Promise<void> {
    return this.net.clock.advance(ms)
  }

  /** Lets time pass until the fact is true, looking once a second. @returns how long it took, ms. */
  async until(what: string, fact: () => boolean, mostMs = 3_600_000): Promise<number> {
    const fromMs = this.net.clock.monoMs()
    for (;;) {
      await this.advance(0)
      const passedMs = this.net.clock.monoMs() - fromMs
      if (fact()) return passedMs
      if (passedMs >= mostMs) throw new Error(`not within ${mostMs} ms: ${what}; ${JSON.stringify(this.status())}`)
      await this.advance(1_000)
    }
  }

  untilLive(mostMs?: number): Promise<number> {
    return this.until('live', () => this.status().state === 'live', mostMs)
  }

  /** All that is polled is polled once more, and what it brought is there. */
  async poll(): Promise<void> {
    await this.advance(this.#intervalMs)
    await this.untilLive()
  }

  get worker(): Worker {
    return this.#running?.worker ?? assert.fail('no worker runs')
  }

  status(): AccountStatus {
    const { worker } = this
    const { polled } = this.#parts.providers.byName[this.provider]
    return accountStatus({
      provider: this.provider,
      inboxId: this.account.inboxId,
      state: worker.state,
      outbox: { pending: 0, oldestTsMs: null, error: null, streamReset: false, gapBefore: null },
      polled,
      nowMs: this.net.clock.wallMs(),
      pace: steady(this.#intervalMs),
      slot: SLOT,
      instance: 'a',
    })
  }

  #look(): void {
    if (this.#running === null) return
    const { state, last_error } = this.status()
    const code = last_error?.code ?? null
    const last = this.seen.at(-1)
    if (last?.state === state && last.code === code) return
    this.seen.push({ atMs: this.net.clock.monoMs(), state, code })
  }

  fault(fault: Fault, match: Rule['match'] = {}, times?: number): void {
    this.sim.faults.add({ match, fault, ...(times !== undefined && { times }) })
  }

  change(change: Change): string {
    return this.sim.mutate({ ...change, user: USER, provider: this.provider } as Mutation)
  }

  deliver(more: { labels?: readonly string[]; folder?: string } & Overrides = {}): string {
    return this.change({ type: 'deliver', ...more })
  }

  /** Ids with a row, and those with an outbox row, in the order of storing. */
  mail(): { rows: string[]; events: EmailReceived[] } {
    return this.store.read(this.account.userId, ({ db }) => {
      const stored = db.select({ id: mails.providerMessageId }).from(mails).orderBy(sql`rowid`).all()
      const waiting = db.select({ payload: outbox.payload }).from(outbox).orderBy(outbox.id).all()
      const events = waiting.map(({ payload }): EmailReceived => JSON.parse(payload.toString()))
      return { rows: stored.map(({ id }) => id), events }
    })
  }

  /** Every included mail has one row and one outbox row, and nothing else has. */
  assertStored(): void {
    const { must, mustNot } = this.sim.truth(USER, this.provider)
    const { rows, ...stored } = this.mail()
    const events = stored.events.map(({ provider_message_id }) => provider_message_id)
    assert.equal(new Set(events).size, events.length, 'an event twice')
    assert.deepEqual(new Set(rows), new Set(events), 'rows and events differ')
    const have = new Set(rows)
    const lost = must.filter((id) => !have.has(id))
    const wrong = mustNot.filter((id) => have.has(id))
    assert.deepEqual({ lost, wrong }, { lost: [], wrong: [] })
  }

  /** Also: no pause was cut short, no quota overdrawn, nothing asked for that is not there. */
  assertWhole(): void {
    this.assertStored()
    const { earlyRetries, overdraft } = this.sim.ledger()
    assert.deepEqual({ earlyRetries, overdraft }, { earlyRetries: 0, overdraft: 0 })
    assert.deepEqual(this.requests('unexpected'), [])
  }

  requests(route: string) {
    return this.sim.log().filter((entry) => entry.route === route)
  }
}
