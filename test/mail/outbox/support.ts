/** A real nats-server with the event stream, a store, relays on it, and a final scan of the stream by sequence. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import type { AccountRef, Epoch, MessageMeta } from '../../../services/mail/base/model.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { knowsBatches } from '../../../services/mail/kv/atomic-batch.ts'
import type { ReconcileDeps, RelayDeps } from '../../../services/mail/outbox/deps.ts'
import { openJetStream } from '../../../services/mail/outbox/jetstream.ts'
import { ownEvent } from '../../../services/mail/outbox/own-event.ts'
import { type Batches, ROWS } from '../../../services/mail/outbox/publish-batch.ts'
import { Relay, type RelayRun } from '../../../services/mail/outbox/relay.ts'
import { type EventStreamConfig, ensureEventStream } from '../../../services/mail/outbox/stream.ts'
import { storeNew } from '../../../services/mail/store/messages.ts'
import type { OutboxRow } from '../../../services/mail/store/outbox-rows.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import type { Nats } from '../../support/nats-cluster.ts'
import { type NatsRole, startNatsServer } from '../../support/nats-server.ts'
import { until } from '../../support/until.ts'
import { mail } from '../store/support.ts'

export const USER = 'ada'
export const ACCOUNT: AccountRef = { userId: USER, provider: 'google', inboxId: 'primary' }
export const EPOCH: Epoch = { era: 1000, rev: 1 }
export const NEXT_EPOCH: Epoch = { era: 1000, rev: 2 }
export const STREAM: EventStreamConfig = { retentionDays: 30, dedupeWindowMs: 600_000, maxBytes: 64 * 1024 ** 2 }
/** So short that it is over before a relay that lost an answer tries again. */
export const SHORT_WINDOW: EventStreamConfig = { ...STREAM, dedupeWindowMs: 1_000 }

const log = createLog('test', 'silent')
const CONFIG = { onNewStream: 'skip', retentionMs: 30 * 86_400_000, keepMs: 86_400_000 } as const

export type Link = { nc: NatsConnection; js: JetStreamClient; jsm: JetStreamManager; batches: Batches }
export type RunHandle = RelayRun & { end(): Promise<void> }

export class OutboxBox {
  readonly server: Nats
  readonly link: Link
  readonly dir: string
  readonly store: UserStore
  readonly #stack: AsyncDisposableStack

  private constructor(server: Nats, link: Link, dir: string, stack: AsyncDisposableStack) {
    this.server = server
    this.link = link
    this.dir = dir
    this.#stack = stack
    this.store = this.newStore('a')
    this.store.adopt(USER, EPOCH)
  }

  /**
   * A server with the stream, and user ada adopted in the store `a`.
   * @param start of the server, or of a cluster
   */
  static async open(
    stream: EventStreamConfig = STREAM,
    start: () => Promise<Nats> = () => startNatsServer(),
  ): Promise<OutboxBox> {
    await using stack = new AsyncDisposableStack()
    const dir = mkdtempSync(join(tmpdir(), 'mail-sync-outbox-'))
    stack.defer(() => rmSync(dir, { recursive: true }))
    const server = stack.use(await start())
    const link = await connect(server, 'mailsync', server.port, stack)
    await ensureEventStream(link.jsm, stream)
    return new OutboxBox(server, link, dir, stack.move())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }

  /** Another machine's disk. */
  newStore(name: string): UserStore {
    return this.#stack.use(new UserStore({ dataDir: join(this.dir, name), log }))
  }

  /** Another connection, of the service or of somebody who may do everything, or through a proxy. */
  connect(role: NatsRole = 'mailsync', port: number = this.server.port): Promise<Link> {
    return connect(this.server, role, port, this.#stack)
  }

  async ensureStream(stream: EventStreamConfig): Promise<void> {
    await ensureEventStream(this.link.jsm, stream)
  }

  /** Stores mails as one page of the worker. Answers their rows. */
  put(
    prefix: string,
    count: number,
    more: { store?: UserStore; epoch?: Epoch; userId?: string; mail?: Partial<MessageMeta> } = {},
  ): readonly OutboxRow[] {
    const account = { ...ACCOUNT, userId: more.userId ?? USER }
    const page = Array.from({ length: count }, (_, i) => mail(`${prefix}${i}`, more.mail))
    const store = more.store ?? this.store
    return store.commit(account.userId, more.epoch ?? EPOCH, (tx) => storeNew(tx, account, page, Date.now())).rows
  }

  reconcileDeps(more: Partial<ReconcileDeps> = {}): ReconcileDeps {
    return { ...this.link, store: this.store, clock: systemClock, log, ...CONFIG, ...more }
  }

  /** A relay that runs until `end`. */
  relay(
    more: Partial<Omit<RelayDeps, 'config'>> & {
      config?: Partial<RelayDeps['config']>
      epoch?: Epoch
      userId?: string
    } = {},
    owns: () => boolean = () => true,
  ): RunHandle {
    const { epoch = EPOCH, userId = USER, config, ...deps } = more
    const stop = new AbortController()
    this.#stack.defer(() => stop.abort())
    const relay = new Relay({
      ...this.link,
      store: this.store,
      clock: systemClock,
      log,
      ...deps,
      config: { ...CONFIG, ...config },
    })
    const run = relay.start(userId, epoch, owns, stop.signal)
    const end = async (): Promise<void> => {
      stop.abort(new Error('the test ends the relay'))
      await run.done
    }
    return Object.assign(run, { end })
  }

  /** Runs a relay until the outbox is empty. */
  async drain(more: Parameters<OutboxBox['relay']>[0] = {}): Promise<void> {
    const run = this.relay(more)
    await run.drained(AbortSignal.timeout(20_000))
    await run.end()
  }

  /** Provider ids of the user's events in stream order; a message that is none of ours shows as its text. */
  async scan(userId = USER): Promise<string[]> {
    const { jsm } = this.link
    const found: string[] = []
    const { first_seq, last_seq } = (await jsm.streams.info(EVENT_STREAM)).state
    for (let seq = Math.max(first_seq, 1); seq <= last_seq; seq++) {
      const message = await jsm.streams.getMessage(EVENT_STREAM, { seq })
      if (message === null || message.subject !== eventSubject(userId)) continue
      found.push(ownEvent(userId, message.data)?.provider_message_id ?? message.string())
    }
    return found
  }

  /** Waits until the server has forgotten the message ids of everything published so far. */
  async windowOver(): Promise<void> {
    const probe = async (): Promise<boolean> =>
      !(await this.link.js.publish(eventSubject('probe'), 'probe', { msgID: `probe-${probeId}` })).duplicate
    const probeId = performance.now()
    await probe()
    await until('the dedupe window is over', probe, { everyMs: 100 })
  }
}

/** The link, over which each event goes alone. */
export const alone = (link: Link): Link => ({ ...link, batches: { ...link.batches, areTaken: () => false } })

/** `put` ids of one page. */
export const ids = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

async function connect(server: Nats, role: NatsRole, port: number, stack: AsyncDisposableStack): Promise<Link> {
  const options = { name: 'test', inboxPrefix: `_INBOX_${role}`, user: role, password: server.passwords[role] }
  const nc = await connectNats({ url: `nats://127.0.0.1:${port}`, ...options }, log, AbortSignal.timeout(20_000))
  stack.defer(() => drainNats(nc, log))
  return {
    nc,
    ...(await openJetStream(nc)),
    batches: { link: nc, areTaken: () => knowsBatches(nc), fewest: 2, most: ROWS },
  }
}
