/**
 * Puts records on the audit trail. What must stand there exactly once is looked for first; what nobody repeats is put there
 * beside the work, and holds nothing up. It decides neither what is recorded nor what follows when NATS takes no record.
 */
import { JetStreamApiError, type JetStreamClient, type JetStreamManager } from '@nats-io/jetstream'
import PQueue from 'p-queue'
import type { Log } from '#shared/log.ts'
import { TRAIL_STREAM, trailSubject } from '#shared/subjects.ts'
import type { TrailRecord } from '#shared/trail.ts'
import { type Clock, pause } from '../base/time.ts'

const TIMEOUT_MS = 2_000
/** Every instance may put a record on the same subject at the same moment, and each round one of them succeeds. */
const ROUNDS = 50
const ROUND_MS = 20
/** Of what is put there beside the work. */
const TRIES = 4
const BETWEEN_MS = 1_000
const PARALLEL = 4
const WAITING_MAX = 10_000
/** Another record stands there, or is on its way on a replicated stream. */
const LATE = new Set([10071, 10164])

type Parts = { js: JetStreamClient; jsm: JetStreamManager; clock: Clock; log: Log }

export class Trail implements AsyncDisposable {
  readonly #parts: Parts
  /** Bound: WAITING_MAX. */
  readonly #queue = new PQueue({ concurrency: PARALLEL })
  readonly #over = new AbortController()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * After this the record stands there once, whoever has tried it before.
   * @throws what NATS throws; then it may be tried again, by anybody
   */
  async append(record: TrailRecord): Promise<void> {
    let seen = 0
    for (let round = 1; ; round++) {
      const { found, last } = await this.#look(record, seen)
      if (found) return
      seen = last
      try {
        return await this.#publish(record, { lastSubjectSequence: last })
      } catch (error) {
        const isLate = error instanceof JetStreamApiError && LATE.has(error.code)
        if (!isLate || round === ROUNDS) throw error
      }
      await pause(this.#parts.clock, ROUND_MS, this.#over.signal)
    }
  }

  /** The same without an answer: for what has changed nothing, or is told by nothing else. Lost when NATS stays away. */
  note(record: TrailRecord): void {
    const { log } = this.#parts
    if (this.#queue.size < WAITING_MAX) void this.#queue.add(() => this.#insist(record))
    else log.error({ action: record.action }, 'a record of the trail is lost')
  }

  /** What waits is put there, unless NATS is away: the first that is not taken ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort(new Error('stopped'))
    await this.#queue.onIdle()
  }

  async #insist(record: TrailRecord): Promise<void> {
    const { clock, log } = this.#parts
    for (let tries = 1; ; tries++) {
      try {
        return await this.#publish(record, {})
      } catch (error) {
        const isOver = this.#over.signal.aborted
        if (isOver || tries === TRIES) {
          log.error({ err: error, action: record.action }, 'a record of the trail is lost')
          return isOver ? this.#giveUp() : undefined
        }
        await pause(clock, BETWEEN_MS, this.#over.signal)
      }
    }
  }

  /** The process ends, and each of those that wait would take as long to fail. */
  #giveUp(): void {
    const waiting = this.#queue.size
    if (waiting === 0) return
    this.#queue.clear()
    this.#parts.log.error({ records: waiting }, 'records of the trail are lost')
  }

  /** Whether it stands there behind `after`, and what stands there last. */
  async #look({ id, user, action }: TrailRecord, after: number): Promise<{ found: boolean; last: number }> {
    for (let last = after; ; ) {
      // Known to every server that we take; the type of the library knows it for direct gets only.
      const query = { seq: last + 1, next_by_subj: trailSubject(user, action) }
      const message = await this.#parts.jsm.streams.getMessage(TRAIL_STREAM, query)
      if (message === null) return { found: false, last }
      if (message.header.get('Nats-Msg-Id') === id) return { found: true, last: message.seq }
      last = message.seq
    }
  }

  /** The server knows the ids of the last minutes: a repetition is no second record. */
  async #publish(record: TrailRecord, expect: { lastSubjectSequence?: number }): Promise<void> {
    const options = { msgID: record.id, timeout: TIMEOUT_MS, expect: { streamName: TRAIL_STREAM, ...expect } }
    await this.#parts.js.publish(trailSubject(record.user, record.action), JSON.stringify(record), options)
  }
}
