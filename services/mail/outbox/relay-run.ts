/**
 * The loop of one user: reconcile, then publish row after row in id order, one in flight, each expecting the sequence
 * of the one before; mark in groups. Where the stream takes it, several that wait go as one atomic batch; one that is refused
 * says nothing of its rows: they go one by one. No row is skipped or overtaken: a failing head holds the others back.
 *
 *   not sure what stands on the subject → reconcile → publish, mark, publish … → idle
 *                        ↖ no answer, refused expectation ↙        ↘ stream full: back off, publish again
 */
import { setImmediate as yieldTurn } from 'node:timers/promises'
import { aborted } from '#shared/lifecycle.ts'
import { delayMs, RELAY_BACKOFF } from '../base/backoff.ts'
import { Wake } from '../base/wake.ts'
import { readMeta } from '../store/meta.ts'
import {
  delayHead,
  deletePublished,
  dueRows,
  isFrontOld,
  markPublished,
  type OutboxRow,
  outboxDepth,
} from '../store/outbox-rows.ts'
import { CorruptError, DiskError } from '../store/sqlite.ts'
import { StaleEpochError, type UserTx } from '../store/user-store.ts'
import type { RelayDeps, RelayStatus, RunOptions } from './deps.ts'
import { type Published, publish } from './publish.ts'
import { batchOf, publishBatch } from './publish-batch.ts'
import { reconcile } from './reconcile.ts'
import { rebuildPayload, shrinkPayload } from './repair.ts'

/** Rows per turn, per batch and per mark. */
export const ROWS = 100
const IDLE_MS = 3_600_000
const NOT_OWNER_MS = 250
const DELETE_LIMIT = 500

type Fault = Exclude<RelayStatus['error'], null>

export class RelayRun {
  /** Resolves after the signal aborted; rejects with StaleEpochError or CorruptError: the user is lost. */
  readonly done: Promise<void>
  readonly #options: RunOptions
  readonly #deps: RelayDeps
  readonly #bell = new Wake()
  /** Sequence that the next publish expects; true only while `#sure`. */
  #last = 0
  #sure = false
  #failures = 0
  #error: Fault | null = null
  #notBeforeMs = 0
  /** The back-off that an earlier run left on the head row does not count. */
  #hurry = false
  #idle = false
  #drainedOnce = Promise.withResolvers<void>()
  #status: RelayStatus = { pending: 0, oldestTsMs: null, error: null, streamReset: false, gaps: {} }
  #statusIsOld = true

  constructor(options: RunOptions) {
    this.#options = options
    this.#deps = options.deps
    this.#last = options.last ?? 0
    this.#sure = options.last !== null
    this.done = this.#run()
    // A run may fail before its starter gets to look at it; `done` still rejects for whoever does.
    this.done.catch(() => undefined)
  }

  /** Rows were stored. Only a hint: without it they are found at the next look. */
  wake(): void {
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
      const waitMs = await turns.add(() => this.#turn())
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
    const { userId, owns, signal } = this.#options
    const { store, clock } = this.#deps
    if (signal.aborted) return 0
    if (!owns()) return NOT_OWNER_MS
    const pauseMs = this.#notBeforeMs - clock.monoMs()
    if (pauseMs > 0) return pauseMs
    try {
      if (!this.#sure) await this.#readBack()
      await store.turn(userId)
      const rows = store.read(userId, (db) => dueRows(db, ROWS))
      const [head] = rows
      if (head === undefined) return await this.#drained()
      // The wall clock may have jumped: never longer than the longest back-off.
      const headMs = this.#hurry ? 0 : Math.min(head.nextAttemptMs - clock.wallMs(), RELAY_BACKOFF.maxMs)
      this.#hurry = false
      return headMs > 0 ? headMs : await this.#publishRows(rows)
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
      this.#last = store.read(userId, (db) => readMeta(db)?.lastSeq ?? 0)
      return
    }
    const result = await reconcile(userId, epoch, { ...this.#deps, ...config }, signal)
    this.#last = result.last
    // Somebody may have asked for the status while rows were being put back.
    this.#statusIsOld = true
    if (result.marked > 0) this.#failures = 0
    if (this.#error === 'NATS_UNAVAILABLE' || this.#error === 'DISK_FULL') this.#error = null
    hooks?.onReconciled?.(userId, result)
  }

  async #publishRows(rows: readonly OutboxRow[]): Promise<number> {
    const { batches, controls } = this.#deps
    const together = batches?.areTaken() === true ? batchOf(rows, batches.fewest) : []
    const [head] = together
    if (batches === undefined || head === undefined || !this.#mayPublish) return await this.#publishOneByOne(rows)
    const isBlind = controls?.expectSequence === false || controls?.expectOfBatch === false
    const goesOn = (): boolean => batches.areTaken() && this.#mayPublish
    const outcome = await publishBatch(batches.link, together, isBlind ? null : this.#last, goesOn)
    if (outcome.kind === 'refused') return await this.#publishOneByOne(rows)
    if (outcome.kind === 'unsure') return this.#refused(head, outcome)
    this.#last = outcome.seq + together.length - 1
    await this.#deps.store.turn(this.#options.userId)
    this.#mark(together.map((row, i) => ({ row, seq: outcome.seq + i })))
    return 0
  }

  /** `#sure` is lost when a reconnect asks for a look in the middle of a turn. */
  get #mayPublish(): boolean {
    return this.#sure && !this.#options.signal.aborted && this.#options.owns()
  }

  async #publishOneByOne(rows: readonly OutboxRow[]): Promise<number> {
    const stored: { row: OutboxRow; seq: number }[] = []
    for (const row of rows) {
      if (!this.#mayPublish) break
      const outcome = await this.#publish(row)
      if (outcome.kind === 'stored') {
        this.#last = outcome.seq
        stored.push({ row, seq: outcome.seq })
        continue
      }
      this.#mark(stored)
      return this.#refused(row, outcome)
    }
    this.#mark(stored)
    return 0
  }

  async #publish(row: OutboxRow): Promise<Published> {
    const { js, controls } = this.#deps
    const intact = row.intact ? row : this.#commit((tx) => rebuildPayload(tx, row))
    const outcome = await publish(js, intact, controls?.expectSequence === false ? null : this.#last)
    // What a relay without read-back has to believe.
    if (outcome.kind === 'duplicate' && controls?.readBack === false) return { kind: 'stored', seq: outcome.seq }
    return outcome
  }

  #mark(stored: readonly { row: OutboxRow; seq: number }[]): void {
    const newest = stored.at(-1)
    if (newest === undefined) return
    const { clock, hooks } = this.#deps
    const marks = stored.map(({ row: { id, msgId }, seq }) => ({ id, msgId, seq }))
    const nowMs = clock.wallMs()
    this.#commit((tx) => markPublished(tx, marks, { seq: newest.seq, eventId: newest.row.msgId }, nowMs))
    this.#failures = 0
    this.#error = null
    this.#statusIsOld = true
    for (const { row } of stored) hooks?.onPublished?.(this.#options.userId, 1, Math.max(0, nowMs - row.tsMs))
  }

  /** What to do about a publish that was not stored for certain. */
  #refused(row: OutboxRow, outcome: Exclude<Published, { kind: 'stored' }>): number {
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

  /** Nothing waits: old rows go, whoever waits for it is told. */
  async #drained(): Promise<number> {
    const { userId, signal } = this.#options
    const { store, clock, config, hooks } = this.#deps
    this.#error = null
    const beforeMs = clock.wallMs() - config.keepMs
    while (!signal.aborted && store.read(userId, (db) => isFrontOld(db, beforeMs))) {
      this.#commit((tx) => deletePublished(tx, beforeMs, DELETE_LIMIT))
      await yieldTurn()
    }
    const { pending, lastId } = store.read(userId, outboxDepth)
    if (pending > 0) return 0
    this.#idle = true
    // Now, while the database is open.
    this.#readStatus()
    this.#drainedOnce.resolve()
    this.#drainedOnce = Promise.withResolvers<void>()
    hooks?.onDrained?.(userId, lastId)
    return IDLE_MS
  }

  #readStatus(): void {
    try {
      this.#status = this.#deps.store.read(this.#options.userId, (db) => {
        const { pending, oldestTsMs } = outboxDepth(db)
        const { streamResetMs = null, gaps = {} } = readMeta(db) ?? {}
        return { pending, oldestTsMs, error: null, streamReset: streamResetMs !== null, gaps }
      })
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
