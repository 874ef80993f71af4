/**
 * The loop of one user: reconcile, then publish row after row in id order, one in flight, each expecting the sequence
 * of the one before; mark in groups. No row is skipped or overtaken: a failing head holds the others back.
 *
 *   not sure what stands on the subject → reconcile → publish, mark, publish … → idle
 *                        ↖ no answer, refused expectation ↙        ↘ stream full: back off, publish again
 */
import { setImmediate as yieldTurn } from 'node:timers/promises'
import { aborted } from '#shared/lifecycle.ts'
import { delayMs, RELAY_BACKOFF } from '../base/backoff.ts'
import { Wake } from '../base/wake.ts'
import { readMeta } from '../store/meta.ts'
import { delayHead, deletePublished, dueRows, isFrontOld, type OutboxRow, outboxDepth } from '../store/outbox-rows.ts'
import { CorruptError, DiskError } from '../store/sqlite.ts'
import { StaleEpochError, type UserReader, type UserTx } from '../store/user-store.ts'
import type { RelayDeps, RelayStatus, RunOptions } from './deps.ts'
import { ROWS } from './publish-batch.ts'
import { reconcile } from './reconcile.ts'
import { shrinkPayload } from './repair.ts'
import { RowPublisher, type Stopped } from './row-publisher.ts'

const IDLE_MS = 3_600_000
const NOT_OWNER_MS = 250
const DELETE_LIMIT = 500

type Fault = Exclude<RelayStatus['error'], null>
/** Of an outbox in which nothing waits. `isOld`: its first row is kept no longer; `lastId`: the highest there is. */
type Drained = { isOld: boolean; lastId: number; status: RelayStatus }

export class RelayRun {
  /** Resolves after the signal aborted; rejects with StaleEpochError or CorruptError: the user is lost. */
  readonly done: Promise<void>
  readonly #options: RunOptions
  readonly #deps: RelayDeps
  readonly #bell = new Wake()
  /** What it expects is true only while `#sure`. */
  readonly #publisher: RowPublisher
  #sure = false
  #failures = 0
  #error: Fault | null = null
  #notBeforeMs = 0
  /** The back-off that an earlier run left on the head row does not count. */
  #hurry = false
  #idle = false
  /** Highest id of the outbox while it waits with nothing unpublished; null during a turn, and once it was woken. */
  #endId: number | null = null
  /** What its next turn publishes; null = it reads. Bound: rows of one transaction. */
  #handed: readonly OutboxRow[] | null = null
  #drainedOnce = Promise.withResolvers<void>()
  #status: RelayStatus = { pending: 0, oldestTsMs: null, error: null, streamReset: false, gaps: {} }
  #statusIsOld = true

  constructor(options: RunOptions) {
    this.#options = options
    this.#deps = options.deps
    this.#publisher = new RowPublisher(options, {
      mayPublish: () => this.#mayPublish,
      marked: () => this.#marked(),
    })
    this.#sure = options.last !== null
    this.done = this.#run()
    // A run may fail before its starter gets to look at it; `done` still rejects for whoever does.
    this.done.catch(() => undefined)
  }

  /**
   * Rows were stored. Only a hint: without it they are found at the next look.
   * @param rows of the outbox, all that one transaction has just made: they are not read again when nothing waits before them
   */
  wake(rows: readonly OutboxRow[] = []): void {
    const follows = rows[0]?.id === (this.#endId ?? Number.NaN) + 1 || this.#deps.controls?.compareHanded === false
    this.#handed = this.#endId !== null && follows ? rows : null
    // Who wakes it again before its turn comes has stored behind these rows, or before all.
    this.#endId = null
    this.#idle = false
    this.#statusIsOld = true
    this.#bell.ring()
  }

  /** The stream may not be the one that was written to (a reconnect): look at once, and before the next publish. */
  recheck(): void {
    this.#sure = false
    this.#failures = 0
    this.#notBeforeMs = 0
    this.#hurry = true
    this.wake()
  }

  /** Opens no database while nothing happens. */
  status(): RelayStatus {
    if (this.#statusIsOld) this.#readStatus()
    return { ...this.#status, error: this.#error }
  }

  /** Every row is on the stream and marked: nothing was stored since all was, because whoever stores a row rings. */
  get isDrained(): boolean {
    return this.#idle && this.status().pending === 0
  }

  /** Resolves once every row is on the stream and marked. @throws the signal's reason; Error when the run has ended. */
  async drained(signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted()
      this.#options.signal.throwIfAborted()
      if (this.isDrained) return
      this.#bell.ring()
      await Promise.race([this.#drainedOnce.promise, aborted(signal), this.done])
    }
  }

  async #run(): Promise<void> {
    const { signal, turns } = this.#options
    while (!signal.aborted) {
      const waitMs = await turns.take(() => this.#turn())
      if (waitMs > 0 && !signal.aborted) {
        // Aborted while waiting: the loop ends by its condition.
        await this.#bell.wait(waitMs, this.#deps.clock, signal).catch((error) => {
          if (!signal.aborted) throw error
        })
      }
    }
  }

  /** Some rows. Answers how long to wait before the next turn, ms; 0 = go on at once. */
  async #turn(): Promise<number> {
    const { owns, signal } = this.#options
    const { clock } = this.#deps
    const handed = this.#sure ? this.#handed : null
    this.#handed = null
    this.#endId = null
    if (signal.aborted) return 0
    if (!owns()) return NOT_OWNER_MS
    const pauseMs = this.#notBeforeMs - clock.monoMs()
    if (pauseMs > 0) return pauseMs
    try {
      if (!this.#sure) await this.#readBack()
      const { rows, none } = handed === null ? this.#look() : { rows: handed, none: null }
      const [head] = rows
      if (head === undefined) return none === null ? 0 : await this.#drained(none)
      // The wall clock may have jumped: never longer than the longest back-off.
      const headMs = this.#hurry ? 0 : Math.min(head.nextAttemptMs - clock.wallMs(), RELAY_BACKOFF.maxMs)
      this.#hurry = false
      if (headMs > 0) return headMs
      const stopped = await this.#publisher.publish(rows)
      return stopped === null ? 0 : this.#refused(stopped)
    } catch (error) {
      if (error instanceof StaleEpochError || error instanceof CorruptError) throw error
      if (signal.aborted) return 0
      this.#sure = false
      return this.#failed(error instanceof DiskError ? 'DISK_FULL' : 'NATS_UNAVAILABLE', error)
    }
  }

  async #readBack(): Promise<void> {
    const { userId, epoch, signal } = this.#options
    const { store, config, controls, hooks } = this.#deps
    this.#sure = true
    this.#statusIsOld = true
    if (controls?.readBack === false) {
      this.#publisher.last = store.read(userId, (db) => readMeta(db)?.lastSeq ?? 0)
      return
    }
    const result = await reconcile(userId, epoch, { ...this.#deps, ...config }, signal)
    this.#publisher.last = result.last
    // Somebody may have asked for the status while rows were being put back.
    this.#statusIsOld = true
    if (result.marked > 0) this.#failures = 0
    if (this.#error === 'NATS_UNAVAILABLE' || this.#error === 'DISK_FULL') this.#error = null
    hooks?.onReconciled?.(userId, result)
  }

  /** `#sure` is lost when a reconnect asks for a look in the middle of a turn. */
  get #mayPublish(): boolean {
    return this.#sure && !this.#options.signal.aborted && this.#options.owns()
  }

  #marked(): void {
    this.#failures = 0
    this.#error = null
    this.#statusIsOld = true
  }

  /** What to do about a publish that was not stored for certain. */
  #refused({ row, outcome }: Stopped): number {
    switch (outcome.kind) {
      case 'duplicate':
      case 'behind':
        if (outcome.kind === 'behind' && !this.#options.owns()) this.#deps.hooks?.onRefused?.()
        // The first time there is simply something to read; when reading does not help, wait.
        this.#sure = false
        if (this.#failures++ === 0) return 0
        return this.#failed('NATS_UNAVAILABLE', outcome, row)
      case 'full':
        return this.#failed('STREAM_FULL', outcome.error, row)
      case 'too_large':
        if (this.#commit((tx) => shrinkPayload(tx, row))) return 0
        return this.#failed('NATS_UNAVAILABLE', outcome.error, row)
      case 'unsure':
        this.#sure = false
        return this.#failed('NATS_UNAVAILABLE', outcome.error, row)
    }
  }

  /** Backs off; on the head row too, so that a restart does not hurry. Answers the wait in ms. */
  #failed(fault: Fault, error: unknown, head?: OutboxRow): number {
    const { clock, log, random = Math.random } = this.#deps
    if (this.#error !== fault) log.warn({ err: error, fault, user: this.#options.userId }, 'events wait in the outbox')
    this.#error = fault
    this.#failures++
    const waitMs = delayMs(this.#failures, RELAY_BACKOFF, random())
    this.#notBeforeMs = clock.monoMs() + waitMs
    if (head !== undefined) this.#commit((tx) => delayHead(tx, head.id, head.retries + 1, clock.wallMs() + waitMs))
    return waitMs
  }

  /** Rows that wait, or what is to be known when none does: one look at the disk. */
  #look(): { rows: OutboxRow[]; none: Drained | null } {
    const beforeMs = this.#oldMs
    return this.#deps.store.read(this.#options.userId, (db) => {
      const rows = dueRows(db, ROWS)
      return { rows, none: rows.length > 0 ? null : { isOld: isFrontOld(db, beforeMs), ...depthAndStatus(db) } }
    })
  }

  /** Published rows from before are no longer kept; epoch ms. */
  get #oldMs(): number {
    return this.#deps.clock.wallMs() - this.#deps.config.keepMs
  }

  /** Nothing waits: old rows go, whoever waits for it is told. */
  async #drained({ isOld, status, lastId }: Drained): Promise<number> {
    this.#error = null
    if (isOld) {
      this.#commit((tx) => deletePublished(tx, this.#oldMs, DELETE_LIMIT))
      await yieldTurn()
      // What is left is seen in the next turn.
      return 0
    }
    this.#idle = true
    this.#endId = this.#sure ? lastId : null
    this.#status = status
    this.#statusIsOld = false
    this.#drainedOnce.resolve()
    this.#drainedOnce = Promise.withResolvers<void>()
    this.#deps.hooks?.onDrained?.(this.#options.userId, lastId)
    return IDLE_MS
  }

  #readStatus(): void {
    try {
      this.#status = this.#deps.store.read(this.#options.userId, depthAndStatus).status
      this.#statusIsOld = false
    } catch (error) {
      // The last known figures; the loop meets the same fault and acts on it.
      if (!(error instanceof DiskError || error instanceof CorruptError)) throw error
    }
  }

  #commit<T>(fn: (tx: UserTx) => T): T {
    return this.#deps.store.commit(this.#options.userId, this.#options.epoch, fn)
  }
}

function depthAndStatus(db: UserReader): { lastId: number; status: RelayStatus } {
  const { pending, oldestTsMs, lastId } = outboxDepth(db)
  const { streamResetMs = null, gaps = {} } = readMeta(db) ?? {}
  return { lastId, status: { pending, oldestTsMs, error: null, streamReset: streamResetMs !== null, gaps } }
}
