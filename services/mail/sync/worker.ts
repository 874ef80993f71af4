/**
 * One mailbox: token → page → commit → plan → wait, until the signal aborts or only the user can help.
 * It owns the account's lanes and moves them in one transaction per page. It never publishes and never decides who owns whom.
 *
 *   connecting → backfilling → live          any → throttled | retrying → back
 *   any → needs_reauth | paused (the loop ends; a new credential starts a new worker)
 */
import type { AccountErrorCode } from '#shared/errors.ts'
import { type AccountRef, AUDIT_STREAM, type Epoch, type LaneState } from '../base/model.ts'
import { Wake } from '../base/wake.ts'
import { readAudit } from '../store/audits.ts'
import { moveTimes } from '../store/clock-set.ts'
import { DiskError } from '../store/disk-errors.ts'
import { queueDepth } from '../store/fetch-queue.ts'
import { putLane, readLanes } from '../store/lanes.ts'
import { countStored } from '../store/messages.ts'
import { putSyncState, readSyncState } from '../store/sync-state.ts'
import { StaleEpochError, type UserTx } from '../store/user-store.ts'
import { AccountState } from './account-state.ts'
import { auditStream, beginAudit, proveOld } from './audit.ts'
import { ClockStep, STEP_MIN_MS } from './clock-step.ts'
import { newLane } from './commit-page.ts'
import { judge, takenOver, type Verdict } from './judge.ts'
import { plan } from './plan.ts'
import { bindMailbox, runLane } from './run-lane.ts'
import { syncRow } from './sync-row.ts'
import type { LaneHost, WorkerDeps } from './worker-deps.ts'

/** Lanes of one mailbox that may be asked at the same time. */
const PARALLEL_MAX = 3
/** A worker that nothing wakes looks again after this long. */
const IDLE_MS = 60_000
const REAUTH_RETRY_MS = 2_000
const STOPPED: unknown = new Error('worker stopped')

export class Worker implements LaneHost {
  readonly state = new AccountState()
  readonly account: AccountRef
  readonly epoch: Epoch
  readonly deps: WorkerDeps
  readonly #wake = new Wake()
  readonly #running = new Map<string, Promise<void>>()
  readonly #clockStep: ClockStep
  #crash: unknown = null
  #bindFailures = 0
  /** The disk has refused the last status. */
  #isRefused = false

  constructor(account: AccountRef, epoch: Epoch, deps: WorkerDeps) {
    this.account = account
    this.epoch = epoch
    this.deps = deps
    this.#clockStep = new ClockStep(deps.clock)
  }

  /**
   * Runs until the signal aborts (resolves), the account ends (resolves), or the epoch is stale (rejects).
   * In-flight calls are aborted with the signal and awaited.
   */
  async run(signal: AbortSignal): Promise<void> {
    const stop = new AbortController()
    const both = AbortSignal.any([signal, stop.signal])
    try {
      this.#load()
      while (!both.aborted && this.state.ended === null) {
        if (this.#crash !== null) throw this.#crash
        await this.#step(both)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      stop.abort(STOPPED)
      await Promise.allSettled(this.#running.values())
    }
    if (this.#crash !== null && !signal.aborted) throw this.#crash
  }

  /** Nothing is under way: without the term it only waits. */
  get isIdle(): boolean {
    return this.#running.size === 0
  }

  #load(): void {
    const { store, clock } = this.deps
    const nowMs = clock.wallMs()
    let writtenMs = 0
    store.read(this.account.userId, (db) => {
      for (const lane of readLanes(db, this.account)) this.state.lanes.set(lane.lane, takenOver(lane))
      this.state.stored = countStored(db, this.account)
      const row = readSyncState(db, this.account)
      this.state.syncCursor = row?.cursor ?? null
      writtenMs = (row?.updatedAt ?? 0) * 1_000
      // The row counts in whole seconds: the pause must not end before its time.
      if (row?.lastError?.code === 'THROTTLED')
        this.state.throttledUntilMs = ((row.lastError.retry_at ?? -1) + 1) * 1_000
      this.state.queue = queueDepth(db, this.account)
      this.state.audit = readAudit(db, this.account)
    })
    // Also when other lanes are there: a checkpoint that had to be cut may have left it out, and it finds the others.
    const { firstLane } = this.deps.provider
    if (!this.state.lanes.has(firstLane)) this.state.lanes.set(firstLane, newLane(firstLane))
    this.state.sinceMs = nowMs
    this.state.noteRest((lane) => this.deps.provider.polled(lane), nowMs)
    const aheadMs = Math.max(writtenMs, this.state.lastSyncedMs()) - nowMs
    if (aheadMs > STEP_MIN_MS) this.#clockSet(-aheadMs)
    this.state.newsMs = Math.min(this.state.newsMs, nowMs)
    if (this.state.throttledUntilMs > nowMs) this.deps.limiter.throttled(this.state.throttledUntilMs - nowMs)
    this.state.bound = this.deps.bound.mailbox !== null
    this.state.address = this.deps.bound.address
    proveOld(this, this.nowMs())
  }

  /** Begins an audit if none runs. @throws DiskError, StaleEpochError */
  audit(): void {
    if (this.state.ended !== null) return
    beginAudit(this, this.nowMs())
    this.#wake.ring()
  }

  /** Mail was learned from the stream, beside this worker. */
  recount(): void {
    this.state.stored = this.deps.store.read(this.account.userId, (db) => countStored(db, this.account))
  }

  async #step(signal: AbortSignal): Promise<void> {
    const { clock, provider } = this.deps
    if (!this.deps.owns()) {
      await this.#wake.wait(250, clock, signal)
      return
    }
    this.deps.limiter.setSharers(this.deps.sharers())
    if (!this.state.bound && !this.#running.has('')) this.#start('', signal)
    const nowMs = this.nowMs()
    const { queue } = this.state
    const isDue = queue.nextAtMs !== null && queue.nextAtMs <= nowMs
    const next = plan({
      lanes: this.state.bound ? [...this.state.lanes.values()] : [],
      running: new Set(this.#running.keys()),
      more: this.state.more,
      nowMs,
      pace: this.deps.pace,
      newsMs: this.state.newsMs,
      slot: this.deps.slot,
      maxParallel: PARALLEL_MAX,
      queue: { ...queue, due: queue.waiting + (isDue ? 1 : 0) },
      polled: (lane) => provider.polled(lane),
      takes: (lane) => provider.takes(lane),
    })
    for (const lane of next.start) this.#start(lane, signal)
    // Whatever else is ready waits for one of those that run: their end rings.
    await this.#wake.wait(Math.min(IDLE_MS, (next.waitUntilMs ?? Number.POSITIVE_INFINITY) - nowMs), clock, signal)
  }

  /** Runs one page beside the loop; the lane '' binds the account before its first page. */
  #start(lane: string, signal: AbortSignal): void {
    const run = lane === '' ? bindMailbox : lane === AUDIT_STREAM ? auditStream : pageOf(lane)
    const task = run(this, signal)
      .catch((error) => this.#failed(lane, error, signal))
      .catch((error) => {
        this.#crash ??= error
      })
      .finally(() => {
        this.#running.delete(lane)
        this.#wake.ring()
      })
    this.#running.set(lane, task)
  }

  async #failed(lane: string, error: unknown, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    if (error instanceof StaleEpochError || this.deps.store.isDamage(this.account.userId, error)) throw error
    const { clock, telemetry, log } = this.deps
    const nowMs = this.nowMs()
    const known = this.state.lanes.get(lane)
    const before = known ?? { ...newLane(lane), failures: lane === '' ? this.#bindFailures++ : 0 }
    const verdict = judge(error, before, nowMs, this.deps.sharers() > 1, this.deps.random())
    telemetry.syncFailed(this.account.provider, verdict.code)
    // The 1st, 2nd, 4th … time: a disk may be full for days, and the log lies on one, too.
    const isTold = (before.failures & (before.failures + 1)) === 0
    log[verdict.code === 'INTERNAL' ? 'error' : isTold ? 'warn' : 'debug'](
      { err: error, lane, verdict: verdict.do, code: verdict.code },
      'a page failed',
    )
    // A lane that was dropped meanwhile is not made again by its fault.
    await this.#carryOut(verdict, known ?? null, nowMs)
    if (lane === '' && 'delayMs' in verdict) await clock.sleep(verdict.delayMs, signal)
  }

  async #carryOut(verdict: Verdict, lane: LaneState | null, nowMs: number): Promise<void> {
    const { state } = this
    // Without an announced time the limiter knows how often in a row it was refused.
    const delayMs = verdict.do === 'throttle' ? Math.max(verdict.delayMs, this.deps.limiter.pausedMs) : 0
    const retryAtMs = 'delayMs' in verdict ? nowMs + Math.max(verdict.delayMs, delayMs) : null
    state.failed(verdict.code, verdict.do === 'throttle' ? null : (lane?.lane ?? null), nowMs, retryAtMs)
    switch (verdict.do) {
      case 'retry':
        if (lane !== null)
          this.#putLanes([{ ...lane, failures: lane.failures + 1, notBeforeMs: nowMs + verdict.delayMs }], nowMs)
        break
      case 'restart':
        if (lane === null) break
        this.deps.telemetry.cursorExpired(this.account.provider)
        this.#putLanes(
          [
            {
              ...lane,
              cursor: verdict.cursor,
              done: false,
              failures: 0,
              notBeforeMs: nowMs + verdict.delayMs,
              resets: lane.resets + 1,
              resetMs: nowMs,
            },
          ],
          nowMs,
        )
        break
      case 'throttle':
        this.deps.telemetry.throttled(this.account.provider)
        state.throttledUntilMs = Math.max(state.throttledUntilMs, nowMs + delayMs)
        this.deps.limiter.throttled(delayMs)
        if (verdict.scope === 'project') this.deps.projectThrottled(delayMs)
        this.#putLanes(
          [...state.lanes.values()].map((each) => ({
            ...each,
            notBeforeMs: Math.max(each.notBeforeMs, state.throttledUntilMs),
          })),
          nowMs,
        )
        break
      case 'reauth':
        await this.#reauth(verdict.code, lane, nowMs)
        break
      case 'pause':
        this.#end('paused', nowMs)
        break
      default:
        verdict satisfies never
    }
  }

  /** Written where everybody sees it, then the worker ends; when NATS does not take it, the lane meets the fault again. */
  async #reauth(code: AccountErrorCode, lane: LaneState | null, nowMs: number): Promise<void> {
    try {
      await this.deps.reauth(code)
    } catch (error) {
      this.deps.log.warn({ err: error, code }, 'that the user must sign in again could not be written yet')
      if (lane !== null) this.#putLanes([{ ...lane, notBeforeMs: nowMs + REAUTH_RETRY_MS }], nowMs)
      return
    }
    this.#end('needs_reauth', nowMs)
  }

  #end(how: 'needs_reauth' | 'paused', nowMs: number): void {
    this.state.ended = how
    this.#putLanes([], nowMs)
  }

  /** Lanes and status into the database; what the disk refuses stays in memory, where it does its work until a restart. */
  #putLanes(lanes: readonly LaneState[], nowMs: number): void {
    for (const lane of lanes) this.state.lanes.set(lane.lane, lane)
    this.#commit((tx) => {
      for (const lane of lanes) putLane(tx, this.account, lane)
      this.putStatus(tx, nowMs)
    })
  }

  #commit(write: (tx: UserTx) => void): void {
    try {
      this.deps.store.commit(this.account.userId, this.epoch, write)
      this.#isRefused = false
    } catch (error) {
      if (!(error instanceof DiskError)) throw error
      if (!this.#isRefused) this.deps.log.error({ err: error }, 'the disk refuses the status')
      this.#isRefused = true
    }
  }

  nowMs(): number {
    const setMs = this.#clockStep.take()
    if (setMs !== 0) this.#clockSet(setMs)
    return this.deps.clock.wallMs()
  }

  /** Times that the worker waits for would come days too early or too late. */
  #clockSet(byMs: number): void {
    this.deps.log.warn({ byMs }, 'the wall clock was set')
    this.state.clockSet(byMs)
    this.#commit((tx) => moveTimes(tx, this.account, byMs))
  }

  putStatus(tx: UserTx, nowMs: number): void {
    putSyncState(tx, this.account, syncRow(this.state, nowMs))
  }
}

const pageOf =
  (lane: string) =>
  (host: LaneHost, signal: AbortSignal): Promise<void> =>
    runLane(host, lane, signal)
