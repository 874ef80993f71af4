/**
 * One user under one epoch: rest, take-over, relay, a worker per connected account, checkpoints, revocations; and the end of
 * it all, in order. It never acquires or releases the lease itself.
 *
 *   resting → taking over → running → released (workers, relay and last checkpoint have ended in that order)
 *                                  ↘ lost (everything is aborted at once; the stores refuse what comes late)
 */
import type { AccountStatus } from '#shared/contract.ts'
import { type AccountRef, accountName, type Epoch } from '../base/model.ts'
import { endsWithin } from '../base/time.ts'
import type { AccountEntry } from '../kv/accounts.ts'
import type { RelayRun } from '../outbox/relay.ts'
import { StaleEpochError } from '../store/user-store.ts'
import type { Worker } from '../sync/worker.ts'
import { lastEstimate, lastNewsMs } from './checkpoint-record.ts'
import { Checkpointer } from './checkpointer.ts'
import type { Last } from './lease.ts'
import { Rest, type Starter } from './rest.ts'
import { RestPoll } from './rest-poll.ts'
import { areRestful, REST_AFTER_MS } from './restful.ts'
import { takeOver } from './takeover.ts'
import type { TenureDeps } from './tenure-deps.ts'
import { isQuietAccount, lanesOf, newsOf, nextDueMs, pollsOf, type StatusContext, statusOf } from './tenure-status.ts'
import { type Lost, NOT_LOST, type Term, type TermHost } from './term.ts'
import type { UserWorkers } from './user-workers.ts'
import { equip, type Work } from './work.ts'

/** How long a release waits for events in flight. */
const FLUSH_MS = 3_000

/** One for all: an error per user costs more than the rest of a release. */
const RELEASED: unknown = new Error('released')

const NO_STATE = (): undefined => undefined

export class Tenure implements Starter {
  readonly userId: string
  readonly epoch: Epoch
  /** What happens before `start`. */
  readonly rest: Rest
  readonly #term: Term
  readonly #host: TermHost
  readonly #restPoll: RestPoll
  readonly #deps: TenureDeps
  /** null while the user rests: most users do, and hold nothing of it. */
  #work: Work | null = null
  #relay: RelayRun | null = null
  #checkpointer: Checkpointer | null = null
  #lost: Lost = NOT_LOST
  #releasing = false
  #startedMs: number | null = null

  constructor(term: Term, host: TermHost, deps: TenureDeps) {
    this.userId = term.userId
    this.epoch = term.epoch
    this.#term = term
    this.#host = host
    this.#restPoll = new RestPoll(term, this, deps)
    this.rest = new Rest(deps.clock, this.#restPoll)
    this.#deps = deps
  }

  /** It is to be started, is lost, or may go back to rest: to be looked at anew. */
  due(): void {
    this.#host.changed(this.userId)
  }

  /** Work may begin: asked before every effect. */
  get mayAsk(): boolean {
    return !this.#releasing && this.#owns
  }
  get #owns(): boolean {
    return !this.#lost.aborted && this.#host.owns(this.#term)
  }

  /** Resolves once the user runs. @throws StaleEpochError when a later owner was here first. */
  async start(): Promise<void> {
    this.rest.end()
    try {
      await this.#start()
    } finally {
      this.rest.settled()
    }
  }

  async #start(): Promise<void> {
    const { relay, earlyCheckpoint, accounts } = this.#deps
    const work = equip(this.#deps, {
      create: (entry) => this.#createWorker(entry),
      // That it was stopped for the next owner is nothing to be written down.
      ended: () => this.#releasing || this.#checkpointer?.changed(false),
      gone: () => this.accountsChanged(),
      failed: (error) => this.#failed(error),
    })
    this.#work = work
    const { lost, settlements, stopCheckpoints } = work
    if (this.#lost.aborted) lost.abort(this.#lost.reason)
    if (accounts.isToErase(this.userId)) return settlements.erase(this.userId, this.epoch, (how) => this.#lose(how))
    const parts = { ...this.#deps, readBack: () => relay.readBack(this.userId, this.epoch, lost.signal) }
    const { base, checkpoint, isNews, last } = await takeOver(this.userId, this.epoch, this.#term.owner, parts)
    lost.signal.throwIfAborted()
    this.#deps.telemetry.takenOver(base)
    if (this.#term.before === null) this.#deps.termBegan(this.userId, this.epoch, base)
    this.#deps.log.info({ base, epoch: this.epoch }, 'user taken over')
    this.#checkpointer = new Checkpointer(this.userId, this.epoch, checkpoint, {
      ...this.#deps,
      owns: () => this.#owns,
      accounts: () => this.#deps.accounts.ofUser(this.userId).map((entry) => entry.account),
      statuses: () => this.statuses() ?? [],
      lanes: () => lanesOf(this.#deps.accounts.ofUser(this.userId), this.#stateOf),
      newsMs: () => newsOf(this.#deps.accounts.ofUser(this.userId), this.#stateOf),
      ...(earlyCheckpoint === undefined ? {} : { early: earlyCheckpoint }),
    })
    this.#startedMs = this.#deps.clock.wallMs()
    if (isNews) this.#checkpointer.changed(false)
    this.#relay = relay.start(this.userId, this.epoch, () => this.#owns, lost.signal, last)
    this.#relay.done.catch((error) => this.#failed(error))
    work.checkpoints = this.#checkpointer
      .run(AbortSignal.any([lost.signal, stopCheckpoints.signal]))
      .catch((error) => this.#failed(error))
    this.accountsChanged()
  }

  /** Starts and stops workers so that they are what the records ask for. */
  accountsChanged(): void {
    this.rest.changed()
    if (this.#releasing || this.#relay === null) return
    // By a term of its own, after which nothing of this one can be written.
    if (this.#deps.accounts.isToErase(this.userId)) this.#lose(new Error('to be erased'))
    if (this.#lost.aborted) return
    for (const entry of this.#deps.accounts.ofUser(this.userId)) {
      this.#work?.workers.follow(entry)
      this.#work?.settlements.follow(entry)
    }
  }

  /** Mail of the user was read back from the stream, or the stream is not what it was. */
  learned(): void {
    this.#checkpointer?.changed(false)
    this.#work?.workers.recount()
  }

  /** Nothing left to do for the user: no account, nothing to settle, an empty outbox. */
  get idle(): boolean {
    const { workers, settlements } = this.#work ?? {}
    return this.#relay !== null && workers?.size === 0 && settlements?.isEmpty === true && this.pending === 0
  }
  get pending(): number {
    return this.#relay?.status().pending ?? 0
  }
  get lost(): Lost {
    return this.#lost
  }

  /** For whoever owns the user next. */
  get last(): Last {
    const { accounts, polled, pace } = this.#deps
    const [entries, relay, { dueMs, isQuiet: isAtRest }] = [accounts.ofUser(this.userId), this.#relay, this.rest]
    const quietAt = entries.length === 0 ? null : Math.max(...entries.map(({ revision }) => revision))
    if (relay === null) return { dueMs, quietAt: isAtRest ? quietAt : null }
    return {
      dueMs: nextDueMs(entries, this.#stateOf, polled, pace),
      quietAt: this.#isQuiet(entries, relay) ? quietAt : null,
    }
  }

  /** When each mailbox was polled last, epoch ms, by the name of the account. */
  get polledMs(): ReadonlyMap<string, number> {
    return pollsOf(this.#deps.accounts.ofUser(this.userId), this.#stateOf, this.#deps.polled)
  }

  /** After a fault the database is closed, and may be damaged: it is not asked. */
  #isQuiet(entries: readonly AccountEntry[], relay: RelayRun): boolean {
    const isLeft = (entry: AccountEntry): boolean =>
      !isQuietAccount(entry, this.#stateOf(entry.account), this.#contextOf(entry, relay))
    return !this.#lost.aborted && !entries.some(isLeft)
  }

  /**
   * Nothing has happened for a while, all of it is written down where others find it, and the mailboxes can be polled without
   * anybody working for the user.
   */
  get isRestful(): boolean {
    const { clock, accounts, restAfterMs = REST_AFTER_MS, idlePoll } = this.#deps
    const [entries, relay, sinceMs] = [accounts.ofUser(this.userId), this.#relay, clock.wallMs() - restAfterMs]
    if (relay === null || this.#startedMs === null || this.#startedMs > sinceMs || this.#releasing) return false
    if (this.#checkpointer?.isWritten !== true) return false
    const isQuiet = areRestful({ entries, stateOf: this.#stateOf, idlePoll, sinceMs }) && this.#isQuiet(entries, relay)
    return isQuiet && relay.isDrained
  }

  /** The worker of an account that is connected and need not sign in again. */
  workerOf(account: AccountRef): Worker | undefined {
    return this.#work?.workers.of(account)
  }
  get #stateOf(): UserWorkers['stateOf'] {
    return this.#work?.workers.stateOf ?? NO_STATE
  }

  /** Status of every connected account of the user; null until the take-over is done: the last checkpoint says more. */
  statuses(): AccountStatus[] | null {
    const relay = this.#relay
    if (relay === null) return null
    return this.#deps.accounts
      .ofUser(this.userId)
      .filter(({ record }) => record.desired === 'connected')
      .map((entry) => statusOf(entry, this.#stateOf(entry.account), this.#contextOf(entry, relay)))
  }

  #contextOf({ account }: AccountEntry, relay: RelayRun): StatusContext {
    const { clock, instance, pace, polled } = this.#deps
    const outbox = relay.status()
    return { outbox, polled: (lane) => polled(account, lane), nowMs: clock.wallMs(), pace, instance }
  }

  /** Everything stops at once; what is still under way is refused by the stores. */
  async drop(reason: unknown): Promise<void> {
    await this.#abort(reason)
    this.#deps.store.release(this.userId)
    this.#deps.store.setAsideIfDamaged(this.userId, this.#lost.reason)
  }

  async #abort(reason: unknown): Promise<void> {
    this.rest.end()
    this.#lose(reason)
    if (this.#work === null) return
    const { workers, checkpoints, settlements } = this.#work
    await Promise.allSettled([workers.end(reason), this.#relay?.done, checkpoints, settlements.ended()])
  }

  #lose(reason: unknown): void {
    if (this.#lost.aborted) return
    this.#lost = { aborted: true, reason }
    this.#work?.lost.abort(reason)
    this.due()
  }

  /** Ends work in order: workers, events in flight, last checkpoint. The lease is the caller's to give back, then `close`. */
  async release(): Promise<void> {
    // Most only wait for their next poll, and many are released at a time: what waits is ended when nobody waits for it.
    if (!this.halt()) await this.#endWork()
    await this.#checkpointer?.flush().catch((error) => this.#failed(error))
    // A revocation must not go on beside that of the next owner.
    if (this.#work?.settlements.isEmpty === false) await this.close()
  }

  /** From here on nothing begins. True when nothing is under way either. */
  halt(): boolean {
    this.#releasing = true
    const isWritten = this.#checkpointer?.halt() ?? true
    const isPublished = this.#relay === null || this.#relay.isDrained
    return isWritten && isPublished && (this.#work?.workers.areIdle ?? true)
  }

  async #endWork(): Promise<void> {
    if (this.#work === null) return
    const { lost, workers, stopCheckpoints } = this.#work
    await workers.release(RELEASED)
    if (this.#relay !== null && !this.#relay.isDrained && !lost.signal.aborted) {
      await endsWithin(this.#deps.clock, FLUSH_MS, this.#relay.drained(lost.signal)).catch((error) => {
        this.#deps.log.debug({ err: error }, 'released before the outbox was empty; the next owner publishes the rest')
      })
    }
    stopCheckpoints.abort(RELEASED)
    await this.#work.checkpoints
  }

  /** Ends what is left of a released user: loops that wait. Nobody is kept waiting for it. */
  async close(): Promise<void> {
    // The database stays open while the cache has room: closing waits for the disk, and the other users for it.
    await this.#abort(RELEASED)
    this.#deps.store.setAsideIfDamaged(this.userId, this.#lost.reason)
  }

  #createWorker(entry: AccountEntry): Worker {
    const worker = this.#deps.worker(entry, this.epoch, {
      owns: () => this.mayAsk,
      idled: () => {
        if (this.isRestful) this.due()
      },
      committed: (cursorOnly, rows) => {
        if (!cursorOnly) this.#relay?.wake(rows)
        this.#checkpointer?.changed(cursorOnly)
      },
    })
    const last = this.#checkpointer?.last
    worker.state.estimate = last === undefined ? null : lastEstimate(last, entry.account)
    worker.state.newsMs = lastNewsMs(last, entry)
    worker.state.polledAtRestMs = this.#restPoll.polledMs.get(accountName(entry.account)) ?? 0
    return worker
  }

  /** A stale epoch ends the term; any other fault ends it too, so that it starts again from what is stored. */
  #failed(error: unknown): void {
    if (this.#lost.aborted) return
    if (!(error instanceof StaleEpochError))
      this.#deps.log.error({ err: error }, 'a user failed; it is taken over anew')
    this.#lose(error)
  }
}
