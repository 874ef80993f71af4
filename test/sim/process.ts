/** One instance: the real supervisor, tenures, workers, relay and stores, on a simulated clock, link, disk and provider. */
import { rmSync } from 'node:fs'
import { createLog } from '#shared/log.ts'
import { BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE } from '#shared/subjects.ts'
import type { AccountRef } from '../../services/mail/base/model.ts'
import { createTelemetry } from '../../services/mail/base/telemetry.ts'
import { Accounts } from '../../services/mail/kv/accounts.ts'
import type { Bucket } from '../../services/mail/kv/bucket.ts'
import { Checkpoints } from '../../services/mail/kv/checkpoint.ts'
import { LeaseLog } from '../../services/mail/kv/lease-log.ts'
import { Relay } from '../../services/mail/outbox/relay.ts'
import { streamFacts, streamHolds } from '../../services/mail/outbox/stream-facts.ts'
import { leaseTimes } from '../../services/mail/owner/lease-times.ts'
import { Supervisor } from '../../services/mail/owner/supervisor.ts'
import { Worker } from '../../services/mail/sync/worker.ts'
import { plainWorker } from '../mail/sync/plain-worker.ts'
import type { Broker } from './broker.ts'
import { bucketOf, type SimBucket } from './bucket.ts'
import type { Chance } from './chance.ts'
import { type Look, SimStore } from './disk.ts'
import { jetstreamOf, type Objects, snapshotsOf } from './jetstream.ts'
import { Life } from './life.ts'
import { Link } from './link.ts'
import { type Mailbox, providerOf } from './mailbox.ts'
import type { Mutant } from './mutants.ts'
import { clockOf, type Timeline } from './timeline.ts'

const RETENTION_MS = 30 * 86_400_000
const INTERVAL_MS = 2_000
const log = createLog('sim', process.env.SIM_LOG ?? 'silent')
const telemetry = createTelemetry(log, () => ({ accounts: {}, outboxPending: 0, users: 0 }))

/** What is around a process. */
export type Surroundings = {
  readonly timeline: Timeline
  readonly chance: Chance
  readonly broker: Broker
  readonly objects: Objects
  readonly mutant: Mutant | null
  readonly dir: string
  readonly silenceMs: number
  readonly lookAtDisk: Look
  mailboxOf(user: string): Mailbox
  fail(what: string): void
}

export class SimProcess {
  readonly name: string
  readonly life = new Life()
  readonly link: Link
  readonly #store: SimStore
  readonly #stop = new AbortController()
  readonly #dir: string
  #ended = false

  constructor(world: Surroundings, name: string) {
    const { timeline, chance, broker, mutant } = world
    this.name = name
    this.#dir = `${world.dir}/${name}`
    this.link = new Link(timeline, chance, this.life)
    const clock = clockOf(timeline, this.life)
    const whole = (bucket: string): Bucket => bucketOf(broker, bucket, this.link) as SimBucket as Bucket
    const open = { accounts: whole(BUCKET_ACCOUNTS), leases: whole(BUCKET_LEASES), state: whole(BUCKET_STATE) }
    const accounts = new Accounts(() => open.accounts, clock, log)
    const leases = new LeaseLog(() => open.leases, clock, log)
    const checkpoints = new Checkpoints(() => open.state)
    this.#store = new SimStore({ dataDir: this.#dir, log }, this.life, world.lookAtDisk)
    const store = this.#store
    const { js, jsm } = jetstreamOf(broker, this.link)
    const config = { onNewStream: 'skip', retentionMs: RETENTION_MS, keepMs: 86_400_000 } as const
    const controls = {
      ...(mutant === 'expect' && { expectSequence: false as const }),
      ...(mutant === 'readback' && { readBack: false as const }),
    }
    const relay = new Relay({ js, jsm, store, clock, log, config, controls })
    const tenure = {
      accounts,
      checkpoints,
      store,
      relay,
      clock,
      log,
      telemetry,
      instance: name,
      intervalMs: INTERVAL_MS,
      silenceMs: world.silenceMs,
      snapshots: snapshotsOf(world.objects, this.link),
      streamFacts: streamFacts(jsm, clock),
      streamHolds: streamHolds(jsm),
      retentionMs: RETENTION_MS,
      refillLanes: () => ['refill'],
      polled: (_account: AccountRef, lane: string) => lane === 'history',
      revoke: async () => undefined,
      ...(mutant === 'early' && { earlyCheckpoint: true }),
      worker: (entry: { account: AccountRef }, epoch: Worker['epoch'], hooks: object) =>
        new Worker(entry.account, epoch, {
          provider: providerOf(world.mailboxOf(entry.account.userId), timeline, chance, this.life),
          ...plainWorker(clock),
          store,
          clock,
          log,
          telemetry,
          intervalMs: INTERVAL_MS,
          bound: { mailbox: 'ada@x', address: 'ada@x' },
          random: () => chance.unit(),
          owns: () => false,
          committed: () => undefined,
          ...(mutant === 'cursor' && { cursorFirst: true as const }),
          ...hooks,
        }),
    }
    const supervisor = new Supervisor({
      accounts,
      leases,
      times: leaseTimes(world.silenceMs),
      identity: { name, directory: name, holdsDirectory: () => true, address: `at-${name}`, version: '0.0.0' },
      clock,
      log,
      tenure,
    })
    this.life.onDeath = () => world.timeline.after(0, () => this.#store.close())
    const { signal } = this.#stop
    for (const run of [accounts.run(signal), leases.run(signal)]) run.catch(() => undefined)
    const whileUp = new AbortController()
    this.term = () => whileUp.abort(new Error('SIGTERM'))
    supervisor.run(whileUp.signal).then(
      () => {
        this.#ended = true
        this.#stop.abort()
        this.life.die()
      },
      (error) => {
        if (!this.life.isDead) world.fail(`${name} ended: ${error}`)
      },
    )
  }

  /** As SIGTERM does. */
  readonly term: () => void
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
