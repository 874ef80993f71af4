/** One instance: the real supervisor, tenures, workers, relay and stores, on a simulated clock, link, disk and provider. */
import { rmSync } from 'node:fs'
import { createLog } from '#shared/log.ts'
import { Secret } from '#shared/secret.ts'
import type { Engine } from '../../services/mail/app/engine.ts'
import type { Base } from '../../services/mail/app/ownership.ts'
import { watchNats } from '../../services/mail/app/watch.ts'
import type { AccountRef } from '../../services/mail/base/model.ts'
import { createTelemetry } from '../../services/mail/base/telemetry.ts'
import type { Clock } from '../../services/mail/base/time.ts'
import { Accounts } from '../../services/mail/kv/accounts.ts'
import { Checkpoints } from '../../services/mail/kv/checkpoint.ts'
import { LeaseLog } from '../../services/mail/kv/lease-log.ts'
import { Relay } from '../../services/mail/outbox/relay.ts'
import { leaseTimes } from '../../services/mail/owner/lease-times.ts'
import { Supervisor } from '../../services/mail/owner/supervisor.ts'
import type { SupervisorDeps } from '../../services/mail/owner/tenure-deps.ts'
import { idlePoll } from '../../services/mail/sync/idle-poll.ts'
import { Worker } from '../../services/mail/sync/worker.ts'
import { plainWorker, steady } from '../mail/sync/plain-worker.ts'
import type { Broker } from './broker.ts'
import type { Chance } from './chance.ts'
import { type DiskWatcher, SimStore } from './disk.ts'
import { Life } from './life.ts'
import { Link } from './link.ts'
import { type Mailbox, providerOf } from './mailbox.ts'
import type { Mutant } from './mutants.ts'
import { natsOf } from './nats.ts'
import { clockOf, type Timeline } from './timeline.ts'

/** Long enough for some users to be worked for, and short enough for others to go back to rest. */
const REST_AFTER_MS = 4_000
const RETENTION_MS = 30 * 86_400_000
const INTERVAL_MS = 2_000
const log = createLog('sim', process.env.SIM_LOG ?? 'silent')
const telemetry = createTelemetry(log, () => ({ accounts: {}, outboxPending: 0, users: 0 }))

/** What is around a process. */
export type Surroundings = DiskWatcher & {
  readonly timeline: Timeline
  readonly chance: Chance
  readonly broker: Broker
  readonly mutant: Mutant | null
  /** Whether the stream takes atomic batches. */
  readonly takesBatches: boolean
  readonly dir: string
  readonly silenceMs: number
  /** How long published rows are kept. */
  readonly keepMs: number
  /** Name of what is on the disk of that process: another one once it was lost. */
  diskOf(name: string): string
  mailboxOf(user: string): Mailbox
  fail(what: string): void
}
type Nats = Awaited<ReturnType<typeof natsOf>>

export class SimProcess {
  readonly name: string
  readonly life = new Life()
  readonly link: Link
  readonly #world: Surroundings
  readonly #clock: Clock
  readonly #store: SimStore
  readonly #dir: string
  readonly #stop = new AbortController()
  readonly #whileUp = new AbortController()
  #ended = false

  constructor(world: Surroundings, name: string) {
    const { timeline, chance, mutant } = world
    this.name = name
    this.#world = world
    this.#dir = `${world.dir}/${name}`
    this.link = new Link(timeline, chance, this.life)
    this.#clock = clockOf(timeline, this.life)
    const options = { dataDir: this.#dir, log, ...(mutant === 'compare' && { compareEpochs: false as const }) }
    this.#store = new SimStore(options, this.life, world.diskOf(name), world)
    this.life.onDeath = () => timeline.after(0, () => this.#store.close())
    this.#run().catch((error) => {
      if (!this.life.isDead) world.fail(`${name} ended: ${error}`)
    })
  }

  async #run(): Promise<void> {
    const clock = this.#clock
    const { life, link } = this
    const own = { link, clock, log, disk: this.#world.diskOf(this.name), isGone: () => life.isDead }
    const nats = await natsOf(this.#world, own)
    const accounts = new Accounts(() => nats.buckets.get('accounts'), clock, log)
    const leases = new LeaseLog(() => nats.buckets.get('leases'), clock, log)
    const relay = this.#relay(nats, (userId) => supervisor.tenures.get(userId)?.learned())
    const supervisor = new Supervisor({
      accounts,
      leases,
      times: leaseTimes(this.#world.silenceMs),
      identity: {
        name: this.name,
        directory: this.name,
        holdsDirectory: () => true,
        address: `at-${this.name}`,
        version: '0.0.0',
      },
      clock,
      log,
      tenure: this.#tenure(nats, accounts, relay),
    })
    const { signal } = this.#stop
    const mirror = { restore: async () => undefined }
    const background = { run: () => undefined }
    const watched = { broker: nats, accounts, leases, mirror, background, log }
    // It reads nothing else of all that the service has.
    const watching = watchNats(watched as object as Base, { now: { relay } as object as Engine }, signal)
    for (const beside of [accounts.run(signal), leases.run(signal), watching]) beside.catch(() => undefined)
    await supervisor.run(this.#whileUp.signal)
    this.#ended = true
    this.#stop.abort()
    life.die()
  }

  #relay({ js, jsm, batches }: Nats, learned: (userId: string) => void): Relay {
    const { mutant, keepMs, chance } = this.#world
    return new Relay({
      js,
      jsm,
      batches,
      store: this.#store,
      clock: this.#clock,
      log,
      config: { onNewStream: 'skip', retentionMs: RETENTION_MS, keepMs },
      hooks: {
        onReconciled: (userId, { readEvents, streamReset, rolledBack }) => {
          if (readEvents > 0 || streamReset || rolledBack) learned(userId)
        },
      },
      random: () => chance.unit(),
      controls: {
        ...(mutant === 'expect' && { expectSequence: false as const }),
        ...(mutant === 'batch' && { expectOfBatch: false as const }),
        ...(mutant === 'readback' && { readBack: false as const }),
      },
    })
  }

  #tenure(nats: Nats, accounts: Accounts, relay: Relay): SupervisorDeps['tenure'] {
    const { timeline, chance, mutant, silenceMs } = this.#world
    const [clock, store] = [this.#clock, this.#store]
    const provider = ({ userId }: AccountRef) => providerOf(this.#world.mailboxOf(userId), timeline, chance, this.life)
    return {
      ...nats,
      accounts,
      checkpoints: new Checkpoints(() => nats.buckets.get('state')),
      store,
      relay,
      clock,
      log,
      telemetry,
      instance: this.name,
      pace: steady(INTERVAL_MS),
      restAfterMs: REST_AFTER_MS,
      silenceMs,
      retentionMs: RETENTION_MS,
      refillLanes: () => ['refill'],
      polled: (_account: AccountRef, lane: string) => lane === 'history',
      revoke: async () => undefined,
      erase: async () => undefined,
      trail: { append: async () => undefined },
      termBegan: () => undefined,
      ...(mutant === 'early' && { earlyCheckpoint: true }),
      idlePoll: (account, lanes) =>
        idlePoll(account, lanes, {
          clock,
          provider: provider(account),
          token: async () => new Secret('token'),
          limiter: () => plainWorker(clock).limiter,
        }),
      worker: (entry, epoch, hooks) =>
        new Worker(entry.account, epoch, {
          provider: provider(entry.account),
          ...plainWorker(clock),
          store,
          clock,
          log,
          telemetry,
          pace: steady(INTERVAL_MS),
          bound: { mailbox: 'ada@x', address: 'ada@x' },
          random: () => chance.unit(),
          ...(mutant === 'cursor' && { cursorFirst: true as const }),
          ...hooks,
        }),
    }
  }

  /** As SIGTERM does. */
  term(): void {
    this.#whileUp.abort(new Error('SIGTERM'))
  }
  /** It ended as it was told to. */
  get hasStopped(): boolean {
    return this.#ended
  }
  get hasEnded(): boolean {
    return this.#ended || this.life.isDead
  }
  /** After its death. */
  loseDisk(): void {
    this.#store.close()
    rmSync(this.#dir, { recursive: true, force: true })
  }
}
