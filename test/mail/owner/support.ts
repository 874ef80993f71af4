/**
 * Instances as far as ownership goes, on a real nats-server: sessions, leases, take-over, relay, checkpoints, and workers
 * that walk a scripted provider. Each instance has a connection, a data folder and an identity of its own.
 */

import { join } from 'node:path'
import type { NatsConnection } from '#shared/nats.ts'
import { Secret } from '#shared/secret.ts'
import { BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE } from '#shared/subjects.ts'
import { countRefusals } from '../../../services/mail/app/refusals.ts'
import type { AccountRef } from '../../../services/mail/base/model.ts'
import { createTelemetry } from '../../../services/mail/base/telemetry.ts'
import { type Clock, systemClock } from '../../../services/mail/base/time.ts'
import type { AccountRecord } from '../../../services/mail/kv/account-record.ts'
import { Accounts } from '../../../services/mail/kv/accounts.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { Checkpoints } from '../../../services/mail/kv/checkpoint.ts'
import { LeaseLog } from '../../../services/mail/kv/lease-log.ts'
import { openJetStream } from '../../../services/mail/outbox/jetstream.ts'
import { Relay } from '../../../services/mail/outbox/relay.ts'
import { ensureEventStream } from '../../../services/mail/outbox/stream.ts'
import { Trail } from '../../../services/mail/outbox/trail.ts'
import { ensureTrailStream } from '../../../services/mail/outbox/trail-stream.ts'
import { type LeaseTimes, leaseTimes } from '../../../services/mail/owner/lease-times.ts'
import type { StartTimeDeps } from '../../../services/mail/owner/start-time.ts'
import { Supervisor } from '../../../services/mail/owner/supervisor.ts'
import type { TenureDeps } from '../../../services/mail/owner/tenure-deps.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import { idlePoll } from '../../../services/mail/sync/idle-poll.ts'
import { Worker } from '../../../services/mail/sync/worker.ts'
import { connected, type KvBox, kvBox, log } from '../kv/support.ts'
import { mail, storeBox } from '../store/support.ts'
import { plainWorker, steady } from '../sync/plain-worker.ts'
import { ScriptedProvider } from '../sync/worker-box.ts'
import { takeoverParts } from './takeover-parts.ts'

export const SILENCE_MS = 1_000
const PAGES = 4
const PER_PAGE = 5

export type Node = Awaited<ReturnType<typeof nodeOf>>
export type NodeOptions = {
  port?: number
  clock?: Clock
  directory?: string
  /** Stable name, when it is not that of the data folder. */
  name?: string
  silenceMs?: number
  drainMs?: number
  times?: Partial<LeaseTimes>
  /** In the place of one in the data folder of its name, for all that the instance does. */
  store?: UserStore
  tenure?: Partial<Omit<TenureDeps & StartTimeDeps, 'store'>>
  /** Switches a protection off. */
  compareEpochs?: false
}

/** A mailbox of twenty mails in four pages; polls find nothing. */
export function twentyMails(provider: ScriptedProvider): void {
  provider.answer = ({ lane, cursor }) => {
    const from = cursor === null ? 0 : Number(cursor)
    const to = Math.min(from + 1, PAGES)
    const ids = from < to ? Array.from({ length: PER_PAGE }, (_, i) => `m${from}-${i}`) : []
    return {
      messages: ids.map((id) => mail(id)),
      lanes: [{ lane, cursor: `${to}`, done: to === PAGES }],
      more: to < PAGES,
    }
  }
}
export const TWENTY = PAGES * PER_PAGE

async function nodeOf(box: KvBox, dataDir: string, name: string, options: NodeOptions) {
  const { clock = systemClock, directory = name } = options
  const nc: NatsConnection = await box.connect('mailsync', options.port ?? box.server.port)
  const { js, jsm } = await openJetStream(nc)
  await ensureEventStream(jsm, { retentionDays: 30, dedupeWindowMs: 1_000, maxBytes: 64 * 1024 ** 2 })
  await ensureTrailStream(jsm, 1)
  const open = { accounts: await Bucket.open(nc, BUCKET_ACCOUNTS), leases: await Bucket.open(nc, BUCKET_LEASES) }
  const state = await Bucket.open(nc, BUCKET_STATE)
  const accounts = new Accounts(() => open.accounts, clock, log)
  const leases = new LeaseLog(() => open.leases, clock, log)
  const checkpoints = new Checkpoints(() => state)
  const control = options.compareEpochs === undefined ? {} : { compareEpochs: options.compareEpochs }
  const store = options.store ?? new UserStore({ dataDir: join(dataDir, name), log, ...control })
  const telemetry = createTelemetry(log, () => ({ accounts: {}, outboxPending: 0, users: 0 }))
  const provider = new ScriptedProvider(clock)
  twentyMails(provider)
  const workers: Worker[] = []
  const config = { onNewStream: 'skip', retentionMs: 30 * 86_400_000, keepMs: 86_400_000 } as const
  const tenure: TenureDeps & StartTimeDeps = {
    ...(await takeoverParts(nc)),
    accounts,
    checkpoints,
    store,
    relay: new Relay({ js, jsm, store, clock, log, config }),
    clock,
    log,
    telemetry,
    instance: name,
    pace: steady(200),
    silenceMs: options.silenceMs ?? SILENCE_MS,
    polled: (_account, lane) => provider.polled(lane),
    revoke: async () => undefined,
    erase: async () => undefined,
    trail: new Trail({ js, jsm, clock, log }),
    termBegan: () => undefined,
    idlePoll: (account, lanes) =>
      idlePoll(account, lanes, {
        provider,
        clock,
        token: async () => new Secret('token'),
        limiter: () => plainWorker(clock).limiter,
      }),
    worker: ({ account, record }, epoch, hooks) => {
      const worker = new Worker(account, epoch, {
        provider,
        ...plainWorker(clock),
        store,
        clock,
        log,
        telemetry,
        pace: steady(200),
        bound: { mailbox: record.mailbox, address: record.address },
        random: Math.random,
        ...hooks,
      })
      workers.push(worker)
      return worker
    },
    ...options.tenure,
  }
  countRefusals(tenure)
  const supervisor = new Supervisor({
    accounts,
    leases,
    times: {
      ...leaseTimes(options.silenceMs ?? SILENCE_MS),
      drainMs: options.drainMs ?? 10_000,
      ...options.times,
    },
    identity: {
      name: options.name ?? name,
      directory,
      holdsDirectory: () => true,
      address: `at-${name}`,
      version: '0.0.0',
    },
    clock,
    log,
    tenure,
  })
  const replicas = new AbortController()
  const watching = [accounts.run(replicas.signal), leases.run(replicas.signal)]
  const stop = new AbortController()
  let running: Promise<void> | null = null
  const end = async (): Promise<void> => {
    stop.abort(new Error('the test ends the instance'))
    await running
    replicas.abort()
    await Promise.all(watching)
    await store[Symbol.asyncDispose]()
  }
  return {
    name,
    nc,
    jsm,
    accounts,
    leases,
    checkpoints,
    store,
    provider,
    workers,
    tenure,
    supervisor,
    /** Starts the supervisor. */
    run(): void {
      running ??= supervisor.run(stop.signal)
    },
    /** As SIGTERM does. */
    end,
  }
}

export type OwnerBox = KvBox & {
  dataDir: string
  node(name: string, options?: NodeOptions): Promise<Node>
  /** Writes the record of an account, as connect does. */
  put(at: Node, userId: string, more?: Partial<AccountRecord>): Promise<void>
}

export async function ownerBox(): Promise<OwnerBox> {
  await using stack = new AsyncDisposableStack()
  const folder = stack.use(storeBox())
  const box = stack.use(await kvBox())
  const nodes = stack.use(new AsyncDisposableStack())
  const parts = stack.move()
  return {
    ...box,
    dataDir: folder.dataDir,
    async node(name, options = {}) {
      const node = await nodeOf(box, folder.dataDir, name, options)
      nodes.defer(node.end)
      return node
    },
    async put(at, userId, more = {}) {
      await at.accounts.change(accountOf(userId), (found) => connected({ ...found, ...more }))
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

export const accountOf = (userId: string): AccountRef => ({ userId, provider: 'google', inboxId: 'primary' })
