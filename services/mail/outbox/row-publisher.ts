/**
 * Publishes rows of one user in the order given, several that wait as atomic batches where the stream takes them, each
 * expecting the sequence of the one before, and marks what was acknowledged. It stops at the first row that was not stored
 * for certain: what that means, and when it is tried again, is the business of the run.
 */
import { dueRows, markPublished, type OutboxRow } from '../store/outbox-rows.ts'
import type { UserTx } from '../store/user-store.ts'
import type { RunOptions } from './deps.ts'
import { type Published, publish } from './publish.ts'
import { batchOf, ROWS } from './publish-batch.ts'
import { type Acked, publishBatches } from './publish-batches.ts'
import { rebuildPayload } from './repair.ts'

/** The row that stopped it, and why. */
export type Stopped = { row: OutboxRow; outcome: Exclude<Published, { kind: 'stored' }> }

type Host = {
  /** Asked before each publish. */
  mayPublish(): boolean
  /** Rows were marked. */
  marked(): void
}

export class RowPublisher {
  /** Sequence that the next publish expects. */
  last: number
  readonly #options: RunOptions
  readonly #host: Host

  constructor(options: RunOptions, host: Host) {
    this.last = options.last ?? 0
    this.#options = options
    this.#host = host
  }

  /**
   * Also rows that come to wait meanwhile, while nobody else wants a turn.
   * @returns null when no row has stopped it. What was acknowledged is marked in both cases
   * @throws DiskError, StaleEpochError, CorruptError: then rows may be stored that are not marked
   */
  async publish(rows: readonly OutboxRow[]): Promise<Stopped | null> {
    const { deps, turns } = this.#options
    const { batches, controls } = deps
    const together = batches?.areTaken() === true ? batchOf(rows, batches) : []
    if (batches === undefined || together.length === 0 || !this.#host.mayPublish()) return await this.#oneByOne(rows)
    let read = rows.length
    const isBlind = controls?.expectSequence === false || controls?.expectOfBatch === false
    const host = {
      batches,
      expected: () => (isBlind ? null : this.last),
      mayPublish: () => this.#host.mayPublish(),
      goesOn: () => !turns.areWanted,
      acked: (acked: readonly Acked[]) => this.#acked(acked),
      turn: () => deps.store.turn(this.#options.userId),
      mark: (acked: readonly Acked[]) => this.#mark(acked),
      rest: (sent: readonly OutboxRow[]) => {
        // Nothing was left when they were read; what has come since is seen in the next turn.
        if (read < ROWS && sent.length === read) return []
        const rest = this.#rest(sent)
        read = rest.length
        return rest
      },
    }
    const end = await publishBatches(host, together)
    if (end.kind === 'over') return null
    return end.kind === 'refused' ? await this.#oneByOne(end.rows) : { row: end.head, outcome: end }
  }

  async #oneByOne(rows: readonly OutboxRow[]): Promise<Stopped | null> {
    const stored: Acked[] = []
    for (const row of rows) {
      if (!this.#host.mayPublish()) break
      const outcome = await this.#publish(row)
      if (outcome.kind !== 'stored') {
        this.#mark(stored)
        return { row, outcome }
      }
      const acked = { row, seq: outcome.seq }
      this.#acked([acked])
      stored.push(acked)
    }
    this.#mark(stored)
    return null
  }

  async #publish(row: OutboxRow): Promise<Published> {
    const { js, controls } = this.#options.deps
    const intact = row.intact ? row : this.#commit((tx) => rebuildPayload(tx, row))
    const outcome = await publish(js, intact, controls?.expectSequence === false ? null : this.last)
    // What a relay without read-back has to believe.
    if (outcome.kind === 'duplicate' && controls?.readBack === false) return { kind: 'stored', seq: outcome.seq }
    return outcome
  }

  /** Rows that wait besides those on their way; none while the first of them backs off. */
  #rest(sent: readonly OutboxRow[]): OutboxRow[] {
    const { userId, deps } = this.#options
    const rows = deps.store.read(userId, (db) => dueRows(db, ROWS, sent))
    return (rows[0]?.nextAttemptMs ?? 0) > deps.clock.wallMs() ? [] : rows
  }

  #acked(acked: readonly Acked[]): void {
    const { userId, deps } = this.#options
    const nowMs = deps.clock.wallMs()
    this.last = acked.at(-1)?.seq ?? this.last
    for (const { row } of acked) deps.hooks?.onPublished?.(userId, 1, Math.max(0, nowMs - row.tsMs))
  }

  #mark(acked: readonly Acked[]): void {
    const newest = acked.at(-1)
    if (newest === undefined) return
    const marks = acked.map(({ row: { id, msgId }, seq }) => ({ id, msgId, seq }))
    const nowMs = this.#options.deps.clock.wallMs()
    this.#commit((tx) => markPublished(tx, marks, { seq: newest.seq, eventId: newest.row.msgId }, nowMs))
    this.#host.marked()
  }

  #commit<T>(fn: (tx: UserTx) => T): T {
    const { userId, epoch, deps } = this.#options
    return deps.store.commit(userId, epoch, fn)
  }
}
