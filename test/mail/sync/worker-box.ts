/**
 * A worker on a real store, with a clock that a test moves and a provider that a test scripts page by page. The provider
 * has the lanes `history` (polled, first), `folder:<x>` (polled), `enum` (walked) and `drain` (takes ids).
 */
import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { createLog } from '#shared/log.ts'
import { Secret } from '#shared/secret.ts'
import { auditLane, type Epoch, refillLane } from '../../../services/mail/base/model.ts'
import { createTelemetry } from '../../../services/mail/base/telemetry.ts'
import type { Clock } from '../../../services/mail/base/time.ts'
import {
  type Call,
  emptyPage,
  type Identity,
  type Look,
  type MailProvider,
  type Page,
  type PageRequest,
} from '../../../services/mail/provider/provider.ts'
import { type QueueDepth, queueDepth } from '../../../services/mail/store/fetch-queue.ts'
import { readLanes } from '../../../services/mail/store/lanes.ts'
import { countStored } from '../../../services/mail/store/messages.ts'
import { outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import { readSyncState } from '../../../services/mail/store/sync-state.ts'
import { Worker } from '../../../services/mail/sync/worker.ts'
import type { WorkerDeps } from '../../../services/mail/sync/worker-deps.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { ACCOUNT, EPOCH, type StoreBox, storeBox } from '../store/support.ts'
import { plainWorker, steady } from './plain-worker.ts'

const log = createLog('test', process.env.TEST_LOG ?? 'silent')
const USER = ACCOUNT.userId

export type Asked = {
  lane: string
  cursor: string | null
  take: string[]
  token: string
  priority: string
  atMs: number
}
export type Answer = (request: PageRequest, call: Call) => Partial<Page> | Promise<Partial<Page>>

/** The contract of an adapter, answered by the test. Every request costs one and goes through the limiter. */
export class ScriptedProvider implements MailProvider {
  readonly name = 'google'
  readonly firstLane = 'history'
  readonly keepsPositions = true
  readonly asked: Asked[] = []
  answer: Answer = () => ({})
  identity: () => Promise<Identity> = async () => ({ mailbox: 'ada@x', address: 'ada@x', totalEstimate: null })
  looks: (call: Call) => Promise<Look> = async () => ({ is: 'mail' })
  identified = 0
  readonly #clock: Pick<Clock, 'monoMs'>

  constructor(clock: Pick<Clock, 'monoMs'>) {
    this.#clock = clock
  }
  polled(lane: string): boolean {
    return lane === 'history' || lane.startsWith('folder:')
  }
  refillLanes(): string[] {
    return [refillLane()]
  }
  auditLanes(): string[] {
    return [auditLane()]
  }
  takes(lane: string): number {
    return lane === 'drain' ? 10 : 0
  }
  async identify(): Promise<Identity> {
    this.identified += 1
    return await this.identity()
  }
  async look(_id: string, _request: unknown, call: Call): Promise<Look> {
    return await call.limiter.run(1, call.priority, call.signal, () => this.looks(call))
  }
  async page(request: PageRequest, call: Call): Promise<Page> {
    return await call.limiter.run(1, call.priority, call.signal, async () => {
      this.asked.push({
        lane: request.lane,
        cursor: request.cursor,
        take: [...request.take],
        token: call.accessToken.reveal(),
        priority: call.priority,
        atMs: this.#clock.monoMs(),
      })
      return { ...emptyPage(), ...(await this.answer(request, call)) }
    })
  }
}

export type RunningWorker = { worker: Worker; end(): Promise<void>; done: Promise<void> }

export class WorkerBox {
  readonly clock = new ManualClock()
  readonly provider = new ScriptedProvider(this.clock)
  readonly store: StoreBox['store']
  readonly marked: string[] = []
  readonly refreshes: string[] = []
  readonly stops: AbortController[] = []
  token = 'token-1'
  owns = true
  /** After each transaction: the fetch queue as the worker counts it along, where that is not what stands in the database. */
  readonly #miscounted: [counted: QueueDepth, found: QueueDepth][] = []
  readonly #box = storeBox()

  constructor() {
    this.store = this.#box.store
    this.store.adopt(USER, EPOCH)
  }
  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.stops) stop.abort(new Error('the test is over'))
    await this.#box[Symbol.asyncDispose]()
    assert.deepEqual(this.#miscounted, [])
  }

  /** Starts a worker; it runs as the clock is moved. */
  start(more: Partial<WorkerDeps> = {}, epoch: Epoch = EPOCH): RunningWorker {
    const stop = new AbortController()
    this.stops.push(stop)
    const worker = new Worker(ACCOUNT, epoch, {
      ...plainWorker(this.clock),
      provider: this.provider,
      tokens: {
        accessToken: async (_account, { rejected }) => {
          if (rejected?.reveal() === this.token) {
            this.refreshes.push(this.token)
            this.token = `token-${this.refreshes.length + 1}`
          }
          return new Secret(this.token)
        },
      },
      store: this.store,
      clock: this.clock,
      log,
      telemetry: createTelemetry(log, () => ({ accounts: {}, outboxPending: 0, users: 0 })),
      pace: steady(30_000),
      slot: (this.clock.wallMs() % 30_000) / 30_000,
      owns: () => this.owns,
      bound: { mailbox: 'ada@x', address: 'ada@x' },
      reauth: async (code) => void this.marked.push(code),
      committed: () => this.#count(worker.state.queue),
      random: () => 0.5,
      ...more,
    })
    const done = worker.run(stop.signal)
    done.catch(() => undefined)
    const end = async (): Promise<void> => {
      stop.abort(new Error('the test ends the worker'))
      await done
    }
    return { worker, done, end }
  }

  #count(counted: QueueDepth): void {
    const found = this.store.read(USER, (db) => queueDepth(db, ACCOUNT))
    if (!isDeepStrictEqual(counted, found)) this.#miscounted.push([counted, found])
  }

  lanes() {
    return new Map(this.store.read(USER, (db) => readLanes(db, ACCOUNT)).map((lane) => [lane.lane, lane]))
  }
  /** What survives a crash: rows, events, queue, and the status row. */
  facts() {
    return this.store.read(USER, (db) => ({
      stored: countStored(db, ACCOUNT),
      events: outboxDepth(db).pending,
      queued: queueDepth(db, ACCOUNT).entries,
      status: readSyncState(db, ACCOUNT)?.status ?? null,
      cursor: readSyncState(db, ACCOUNT)?.cursor ?? null,
    }))
  }
  /** Asks of one lane so far. */
  of(lane: string): Asked[] {
    return this.provider.asked.filter((asked) => asked.lane === lane)
  }
}
