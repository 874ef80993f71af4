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
import { Rest } from './rest.ts'
import { RestPoll } from './rest-poll.ts'
import { areRestful, REST_AFTER_MS } from './restful.ts'
import { Settlements } from './settlements.ts'
import { takeOver } from './takeover.ts'
import type { TenureDeps } from './tenure-deps.ts'
import { isQuietAccount, lanesOf, newsOf, nextDueMs, pollsOf, type StatusContext, statusOf } from './tenure-status.ts'
import type { Term } from './term.ts'
import { UserWorkers } from './user-workers.ts'

/** How long a release waits for events in flight. */
const FLUSH_MS = 3_000

/** One for all: an error per user costs more than the rest of a release. */
const RELEASED: unknown = new Error('released')

export class Tenure {
  readonly userId: string
  readonly epoch: Epoch
  /** What happens before `start`. */
  readonly rest: Rest
  /** A poll has found nothing, and the user may go back to rest. */
  onRestful: () => void = () => undefined
  readonly #term: Term
  readonly #restPoll: RestPoll
  readonly #deps: TenureDeps
  readonly #owns: () => boolean
  readonly #workers: UserWorkers
  readonly #settlements: Settlements
  readonly #lost = new AbortController()
  #relay: RelayRun | null = null
  #checkpointer: Checkpointer | null = null
  #stopCheckpoints = new AbortController()
  #checkpoints: Promise<void> = Promise.resolve()
  #releasing = false
  #startedMs = Number.POSITIVE_INFINITY

  constructor(term: Term, deps: TenureDeps) {
    this.userId = term.userId
    this.epoch = term.epoch
    this.#term = term
    this.#restPoll = new RestPoll(term, () => !this.#releasing && this.#owns(), deps)
    this.rest = new Rest(deps.clock, this.#restPoll)
    this.#workers = new UserWorkers(
      {
        create: (entry) => this.#createWorker(entry),
        // That it was stopped for the next owner is nothing to be written down.
        ended: () => this.#releasing || this.#checkpointer?.changed(false),
        gone: () => this.accountsChanged(),
        failed: (error) => this.#failed(error),
      },
      this.#lost.signal,
    )
    this.#settlements = new Settlements(deps, this.#lost.signal)
    this.#deps = deps
    this.#owns = () => !this.#lost.signal.aborted && term.owns()
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
    if (accounts.isToErase(this.userId))
      return this.#settlements.erase(this.userId, this.epoch, (how) => this.#lost.abort(how))
    const parts = { ...this.#deps, readBack: () => relay.readBack(this.userId, this.epoch, this.#lost.signal) }
    const { base, checkpoint, isNews, last } = await takeOver(this.userId, this.epoch, this.#term.owner, parts)
    this.#lost.signal.throwIfAborted()
    this.#deps.telemetry.takenOver(base)
    if (this.#term.before === null) this.#deps.termBegan(this.userId, this.epoch, base)
    this.#deps.log.info({ base, epoch: this.epoch }, 'user taken over')
    this.#checkpointer = new Checkpointer(this.userId, this.epoch, checkpoint, {
      ...this.#deps,
      owns: this.#owns,
      accounts: () => this.#deps.accounts.ofUser(this.userId).map((entry) => entry.account),
      statuses: () => this.statuses() ?? [],
      lanes: () => lanesOf(this.#deps.accounts.ofUser(this.userId), this.#workers.stateOf),
      newsMs: () => newsOf(this.#deps.accounts.ofUser(this.userId), this.#workers.stateOf),
      ...(earlyCheckpoint === undefined ? {} : { early: earlyCheckpoint }),
    })
    this.#startedMs = this.#deps.clock.wallMs()
    if (isNews) this.#checkpointer.changed(false)
    this.#relay = relay.start(this.userId, this.epoch, this.#owns, this.#lost.signal, last)
    this.#relay.done.catch((error) => this.#failed(error))
    this.#checkpoints = this.#checkpointer
      .run(AbortSignal.any([this.#lost.signal, this.#stopCheckpoints.signal]))
      .catch((error) => this.#failed(error))
    this.accountsChanged()
  }

  /** Starts and stops workers so that they are what the records ask for. */
  accountsChanged(): void {
    this.rest.changed()
    if (this.#releasing || this.#relay === null) return
    // By a term of its own, after which nothing of this one can be written.
    if (this.#deps.accounts.isToErase(this.userId)) this.#lost.abort(new Error('to be erased'))
    if (this.#lost.signal.aborted) return
    for (const entry of this.#deps.accounts.ofUser(this.userId)) {
      this.#workers.follow(entry)
      this.#settlements.follow(entry)
    }
  }

  /** Mail of the user was read back from the stream, or the stream is not what it was. */
  learned(): void {
    this.#checkpointer?.changed(false)
    this.#workers.recount()
  }

  /** Nothing left to do for the user: no account, nothing to settle, an empty outbox. */
  get idle(): boolean {
    return this.#workers.size === 0 && this.#settlements.isEmpty && this.#relay !== null && this.pending === 0
  }
  get pending(): number {
    return this.#relay?.status().pending ?? 0
  }
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  /** For whoever owns the user next. */
  get last(): Last {
    const { accounts, polled, pace } = this.#deps
    const [entries, relay, { dueMs, isQuiet: isAtRest }] = [accounts.ofUser(this.userId), this.#relay, this.rest]
    const quietAt = entries.length === 0 ? null : Math.max(...entries.map(({ revision }) => revision))
    if (relay === null) return { dueMs, quietAt: isAtRest ? quietAt : null }
    return {
      dueMs: nextDueMs(entries, this.#workers.stateOf, polled, pace),
      quietAt: this.#isQuiet(entries, relay) ? quietAt : null,
    }
  }

  /** When each mailbox was polled last, epoch ms, by the name of the account. */
  get polledMs(): ReadonlyMap<string, number> {
    return pollsOf(this.#deps.accounts.ofUser(this.userId), this.#workers.stateOf, this.#deps.polled)
  }

  /** After a fault the database is closed, and may be damaged: it is not asked. */
  #isQuiet(entries: readonly AccountEntry[], relay: RelayRun): boolean {
    const isLeft = (entry: AccountEntry): boolean =>
      !isQuietAccount(entry, this.#workers.stateOf(entry.account), this.#contextOf(entry, relay))
    return !this.#lost.signal.aborted && !entries.some(isLeft)
  }

  /**
   * Nothing has happened for a while, all of it is written down where others find it, and the mailboxes can be polled without
   * anybody working for the user.
   */
  get isRestful(): boolean {
    const { clock, accounts, restAfterMs = REST_AFTER_MS, idlePoll } = this.#deps
    const [entries, relay, sinceMs] = [accounts.ofUser(this.userId), this.#relay, clock.wallMs() - restAfterMs]
    if (relay === null || this.#releasing || this.#startedMs > sinceMs || this.#checkpointer?.isWritten !== true)
      return false
    const isQuiet =
      areRestful({ entries, stateOf: this.#workers.stateOf, idlePoll, sinceMs }) && this.#isQuiet(entries, relay)
    return isQuiet && relay.isDrained
  }

  /** The worker of an account that is connected and need not sign in again. */
  workerOf(account: AccountRef): Worker | undefined {
    return this.#workers.of(account)
  }

  /** Status of every connected account of the user; null until the take-over is done: the last checkpoint says more. */
  statuses(): AccountStatus[] | null {
    const relay = this.#relay
    if (relay === null) return null
    return this.#deps.accounts
      .ofUser(this.userId)
      .filter(({ record }) => record.desired === 'connected')
      .map((entry) => statusOf(entry, this.#workers.stateOf(entry.account), this.#contextOf(entry, relay)))
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
    this.#deps.store.setAsideIfDamaged(this.userId, this.#lost.signal.reason)
  }

  async #abort(reason: unknown): Promise<void> {
    this.rest.end()
    this.#lost.abort(reason)
    await Promise.allSettled([
      this.#workers.end(reason),
      this.#relay?.done,
      this.#checkpoints,
      this.#settlements.ended(),
    ])
  }

  /** Ends work in order: workers, events in flight, last checkpoint. The lease is the caller's to give back, then `close`. */
  async release(): Promise<void> {
    // Most only wait for their next poll, and many are released at a time: what waits is ended when nobody waits for it.
    if (!this.halt()) await this.#endWork()
    await this.#checkpointer?.flush().catch((error) => this.#failed(error))
    // A revocation must not go on beside that of the next owner.
    if (!this.#settlements.isEmpty) await this.close()
  }

  /** From here on nothing begins. True when nothing is under way either. */
  halt(): boolean {
    this.#releasing = true
    const isWritten = this.#checkpointer?.halt() ?? true
    const isPublished = this.#relay === null || this.#relay.isDrained
    return isWritten && isPublished && this.#workers.areIdle
  }

  async #endWork(): Promise<void> {
    await this.#workers.release(RELEASED)
    if (this.#relay !== null && !this.#relay.isDrained && !this.#lost.signal.aborted) {
      await endsWithin(this.#deps.clock, FLUSH_MS, this.#relay.drained(this.#lost.signal)).catch((error) => {
        this.#deps.log.debug({ err: error }, 'released before the outbox was empty; the next owner publishes the rest')
      })
    }
    this.#stopCheckpoints.abort(RELEASED)
    await this.#checkpoints
  }

  /** Ends what is left of a released user: loops that wait. Nobody is kept waiting for it. */
  async close(): Promise<void> {
    // The database stays open while the cache has room: closing waits for the disk, and the other users for it.
    await this.#abort(RELEASED)
    this.#deps.store.setAsideIfDamaged(this.userId, this.#lost.signal.reason)
  }

  #createWorker(entry: AccountEntry): Worker {
    const worker = this.#deps.worker(entry, this.epoch, {
      owns: () => !this.#releasing && this.#owns(),
      idled: () => {
        if (this.isRestful) this.onRestful()
      },
      committed: (cursorOnly) => {
        if (!cursorOnly) this.#relay?.wake()
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
    if (this.#lost.signal.aborted) return
    if (!(error instanceof StaleEpochError))
      this.#deps.log.error({ err: error }, 'a user failed; it is taken over anew')
    this.#lost.abort(error)
  }
}
