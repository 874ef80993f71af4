/**
 * One user under one epoch: rest, take-over, relay, a worker per connected account, checkpoints, revocations; and the end of
 * it all, in order. It never acquires or releases the lease itself.
 *
 *   resting → taking over → running → released (workers, relay and last checkpoint have ended in that order)
 *                                  ↘ lost (everything is aborted at once; the stores refuse what comes late)
 */
import type { AccountStatus } from '#shared/contract.ts'
import { type AccountRef, accountName, type Epoch } from '../base/model.ts'
import type { Pace } from '../base/slot.ts'
import type { Telemetry } from '../base/telemetry.ts'
import { endsWithin } from '../base/time.ts'
import type { AccountEntry } from '../kv/accounts.ts'
import type { Relay, RelayRun } from '../outbox/relay.ts'
import type { Snapshots } from '../outbox/snapshots.ts'
import { StaleEpochError } from '../store/user-store.ts'
import type { AccountState } from '../sync/account-state.ts'
import type { Worker } from '../sync/worker.ts'
import type { WorkerDeps } from '../sync/worker-deps.ts'
import { lastEstimate, lastNewsMs } from './checkpoint-record.ts'
import { Checkpointer } from './checkpointer.ts'
import type { Last } from './lease.ts'
import { Rest } from './rest.ts'
import { RestPoll, type RestPollDeps } from './rest-poll.ts'
import { isOutdated, type Running, runningOf } from './running.ts'
import { type SettlementDeps, Settlements } from './settlements.ts'
import { type Base, type TakeoverDeps, takeOver } from './takeover.ts'
import { isQuietAccount, lanesOf, newsOf, nextDueMs, type StatusContext, statusOf } from './tenure-status.ts'

/** How long a release waits for events in flight. */
const FLUSH_MS = 3_000

/** One for all: an error per user costs more than the rest of a release. */
const RELEASED: unknown = new Error('released')

export type WorkerHooks = Pick<WorkerDeps, 'owns' | 'committed'>
export type TenureDeps = Omit<TakeoverDeps, 'readBack'> & SettlementDeps & RestPollDeps & OwnDeps
type OwnDeps = {
  snapshots: Pick<Snapshots, 'get' | 'put' | 'remove' | 'inTurn' | 'createdMs'>
  relay: Relay
  telemetry: Telemetry
  instance: string
  pace: Pace
  polled(account: AccountRef, lane: string): boolean
  /** Builds the worker of a connected account. */
  worker(entry: AccountEntry, epoch: Epoch, hooks: WorkerHooks): Worker
  /** The user was taken over: the term has begun to work. */
  termBegan(userId: string, epoch: Epoch, base: Base): void
  earlyCheckpoint?: boolean
}

export class Tenure {
  readonly userId: string
  readonly epoch: Epoch
  /** What happens before `start`. */
  readonly rest: Rest
  readonly #owner: string
  readonly #deps: TenureDeps
  readonly #owns: () => boolean
  readonly #workers = new Map<string, Running>()
  readonly #settlements: Settlements
  readonly #lost = new AbortController()
  #relay: RelayRun | null = null
  #checkpointer: Checkpointer | null = null
  #stopCheckpoints = new AbortController()
  #checkpoints: Promise<void> = Promise.resolve()
  #releasing = false
  /** Of workers that the release has ended: status and the last checkpoint are about them. */
  readonly #lastStates = new Map<string, AccountState>()

  constructor(userId: string, epoch: Epoch, owner: string, owns: () => boolean, deps: TenureDeps) {
    this.userId = userId
    this.epoch = epoch
    this.rest = new Rest(deps.clock, new RestPoll(userId, () => !this.#releasing && this.#owns(), deps))
    this.#settlements = new Settlements(deps, this.#lost.signal)
    this.#owner = owner
    this.#deps = deps
    this.#owns = () => !this.#lost.signal.aborted && owns()
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
    const { base, checkpoint, isNews, last } = await takeOver(this.userId, this.epoch, this.#owner, parts)
    this.#lost.signal.throwIfAborted()
    this.#deps.telemetry.takenOver(base)
    this.#deps.termBegan(this.userId, this.epoch, base)
    this.#deps.log.info({ base, epoch: this.epoch }, 'user taken over')
    this.#checkpointer = new Checkpointer(this.userId, this.epoch, checkpoint, {
      ...this.#deps,
      owns: this.#owns,
      accounts: () => this.#deps.accounts.ofUser(this.userId).map((entry) => entry.account),
      statuses: () => this.statuses() ?? [],
      lanes: () => lanesOf(this.#deps.accounts.ofUser(this.userId), this.#stateOf),
      newsMs: () => newsOf(this.#deps.accounts.ofUser(this.userId), this.#stateOf),
      ...(earlyCheckpoint === undefined ? {} : { early: earlyCheckpoint }),
    })
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
      const { record } = entry
      const wanted = record.desired === 'connected' && record.reauth === null && record.credential !== null
      const running = this.#workers.get(accountName(entry.account))
      if (!wanted) this.#stopWorker(entry, running)
      else if (running === undefined) this.#startWorker(entry)
      else if (isOutdated(running, entry)) this.#restartWorker(entry, running)
      this.#settlements.follow(entry)
    }
  }

  /** Mail of the user was read back from the stream, or the stream is not what it was. */
  learned(): void {
    this.#checkpointer?.changed(false)
    for (const { worker } of this.#workers.values()) worker.recount()
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
    const isLeft = (entry: AccountEntry): boolean =>
      !isQuietAccount(entry, this.#stateOf(entry.account), this.#contextOf(entry, relay))
    // After a fault the database is closed, and may be damaged: it is not asked.
    const isQuiet = !this.#lost.signal.aborted && !entries.some(isLeft)
    return { dueMs: nextDueMs(entries, this.#stateOf, polled, pace), quietAt: isQuiet ? quietAt : null }
  }

  /** The worker of an account that is connected and need not sign in again. */
  workerOf(account: AccountRef): Worker | undefined {
    return this.#workers.get(accountName(account))?.worker
  }

  #stateOf = (account: AccountRef): AccountState | undefined =>
    this.workerOf(account)?.state ?? this.#lastStates.get(accountName(account))

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
    this.#deps.store.setAsideIfDamaged(this.userId, this.#lost.signal.reason)
  }

  async #abort(reason: unknown): Promise<void> {
    this.rest.end()
    this.#lost.abort(reason)
    for (const { stop } of this.#workers.values()) stop.abort(reason)
    await Promise.allSettled([
      ...[...this.#workers.values()].map(({ ended }) => ended),
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
    return isWritten && isPublished && [...this.#workers.values()].every(({ worker }) => worker.isIdle)
  }

  async #endWork(): Promise<void> {
    for (const [name, { worker, stop }] of this.#workers) {
      this.#lastStates.set(name, worker.state)
      stop.abort(RELEASED)
    }
    await Promise.allSettled([...this.#workers.values()].map(({ ended }) => ended))
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

  #startWorker(entry: AccountEntry): void {
    const name = accountName(entry.account)
    const stop = new AbortController()
    const worker = this.#deps.worker(entry, this.epoch, {
      owns: () => !this.#releasing && this.#owns(),
      committed: (cursorOnly) => {
        if (!cursorOnly) this.#relay?.wake()
        this.#checkpointer?.changed(cursorOnly)
      },
    })
    const last = this.#checkpointer?.last
    worker.state.estimate = last === undefined ? null : lastEstimate(last, entry.account)
    worker.state.newsMs = lastNewsMs(last, entry)
    const ended = worker.run(AbortSignal.any([stop.signal, this.#lost.signal])).then(
      () => {
        // That it was stopped for the next owner is nothing to be written down.
        if (!this.#releasing) this.#checkpointer?.changed(false)
        // An account that ended by itself keeps its worker: its state is what status shows.
        if (!stop.signal.aborted || this.#workers.get(name)?.stop !== stop) return
        this.#workers.delete(name)
        // Connected again while it was ending: nobody else would notice.
        this.accountsChanged()
      },
      (error) => {
        this.#workers.delete(name)
        this.#failed(error)
      },
    )
    this.#workers.set(name, runningOf(entry, { worker, stop, ended }))
  }

  /** One that has ended by itself is kept for its state until the account is disconnected. */
  #stopWorker({ account, record }: AccountEntry, running: Running | undefined): void {
    running?.stop.abort(new Error('disconnected'))
    if (running !== undefined && running.worker.state.ended !== null && record.desired === 'disconnected')
      this.#workers.delete(accountName(account))
  }

  #restartWorker(entry: AccountEntry, running: Running): void {
    running.stop.abort(new Error('a new credential'))
    this.#workers.delete(accountName(entry.account))
    this.#startWorker(entry)
  }

  /** A stale epoch ends the term; any other fault ends it too, so that it starts again from what is stored. */
  #failed(error: unknown): void {
    if (this.#lost.signal.aborted) return
    if (!(error instanceof StaleEpochError))
      this.#deps.log.error({ err: error }, 'a user failed; it is taken over anew')
    this.#lost.abort(error)
  }
}
