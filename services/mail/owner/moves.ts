/**
 * Take-overs and hand-overs under way: at most one per user, and a bounded number of steps at the same time. A move that
 * rests between its steps holds nobody up. What a move does is not its business.
 *
 * Who owns whom is settled for all users before anybody looks at what there is to do, and that before any of it is done.
 */
import PQueue from 'p-queue'
import type { Log } from '#shared/log.ts'
import { type Clock, endsWithin, pause } from '../base/time.ts'
import { PollTurns } from './poll-turns.ts'

/** As many as four atomic batches: see kv/group-commit.ts. */
const LEASES_MAX = 256
const WORK_MAX = 16
/**
 * While users move from one instance to another work waits until no lease has come or gone for so long, but not for ever.
 * The first lease comes up to 200 ms after the news that an instance stops.
 */
const QUIET_MS = 300
const HOLD_MAX_MS = 2_000
const LOOK_MS = 50

export type Step = 'lease' | 'look' | 'work'

export class Moves {
  readonly #moving = new Map<string, Promise<void>>()
  /** Bound: of each the users. Each has one move, which takes one step after the other. */
  readonly #leases = new PQueue({ concurrency: LEASES_MAX })
  readonly #work = new PQueue({ concurrency: WORK_MAX })
  /** Of users at rest, which are not moved: held while leases come and go. */
  readonly polls: PollTurns
  #lastLeaseMs = 0
  #written: Promise<unknown> | null = null
  readonly #ended: (userId: string) => void
  readonly #clock: Clock
  readonly #log: Log

  /** @param ended called after each move, however it ended. */
  constructor(ended: (userId: string) => void, clock: Clock, log: Log) {
    this.#ended = ended
    this.#clock = clock
    this.#log = log
    this.polls = new PollTurns(clock, log)
  }

  has(userId: string): boolean {
    return this.#moving.has(userId)
  }

  /** Starts the move, unless another one of the user is under way. A fault is logged; the move is over then. */
  start(userId: string, move: () => Promise<void>): void {
    if (this.#moving.has(userId)) return
    const moving = move()
      .catch((error) => this.#log.error({ err: error }, 'a user could not be moved'))
      .finally(() => {
        this.#moving.delete(userId)
        this.#ended(userId)
      })
    this.#moving.set(userId, moving)
  }

  /**
   * Runs a part of a move as soon as there is room for it.
   * @param dueMs of work: when it should begin, epoch ms; what is due first begins first
   */
  step<T>(kind: Step, work: () => Promise<T>, dueMs = this.#clock.wallMs()): Promise<T> {
    if (kind !== 'lease') return this.#work.add(work, { priority: kind === 'look' ? Number.POSITIVE_INFINITY : -dueMs })
    this.#lastLeaseMs = this.#clock.monoMs()
    return this.#leases.add(work)
  }

  /** Resolves when no lease waits to be won or given back, or after a while: for what comes after what others wait for. */
  async leasesWritten(): Promise<void> {
    // One wait for all: many users are released at a time.
    this.#written ??= endsWithin(this.#clock, HOLD_MAX_MS, this.#leases.onIdle()).finally(() => {
      this.#written = null
    })
    await this.#written
  }

  /**
   * Instances came or went: work waits until the leases of the users that move for it are written.
   * @param isOver when that is known for certain
   */
  async hold(isOver: () => boolean, signal: AbortSignal): Promise<void> {
    if (this.#work.isPaused) return
    this.#work.pause()
    this.polls.hold()
    const [clock, sinceMs] = [this.#clock, this.#clock.monoMs()]
    this.#lastLeaseMs = sinceMs
    const isMoving = (): boolean => this.#leases.pending > 0 || clock.monoMs() - this.#lastLeaseMs < QUIET_MS
    while (isMoving() && clock.monoMs() - sinceMs < HOLD_MAX_MS && !signal.aborted && !isOver())
      await pause(clock, LOOK_MS, signal)
    this.#work.start()
    this.polls.goOn()
  }

  /** Resolves when no move is under way. */
  async settled(): Promise<void> {
    while (this.#moving.size > 0) await Promise.all(this.#moving.values())
  }
}
