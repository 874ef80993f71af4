/**
 * Take-overs and hand-overs under way: at most one per user, and a bounded number of steps at the same time. A move that
 * rests between its steps holds nobody up. What a move does is not its business.
 */
import PQueue from 'p-queue'
import type { Log } from '#shared/log.ts'

const STEPS_MAX = 16
/** Who owns whom is settled for all users before anybody looks at what there is to do, and that before any of it is done. */
const PRIORITY = { lease: 2, look: 1, work: 0 } as const

export class Moves {
  readonly #moving = new Map<string, Promise<void>>()
  readonly #steps = new PQueue({ concurrency: STEPS_MAX })
  readonly #ended: (userId: string) => void
  readonly #log: Log

  /** @param ended called after each move, however it ended. */
  constructor(ended: (userId: string) => void, log: Log) {
    this.#ended = ended
    this.#log = log
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

  /** Runs a part of a move as soon as there is room for it. */
  step<T>(kind: keyof typeof PRIORITY, work: () => Promise<T>): Promise<T> {
    return this.#steps.add(work, { priority: PRIORITY[kind] })
  }

  /** Resolves when no move is under way. */
  async settled(): Promise<void> {
    while (this.#moving.size > 0) await Promise.all(this.#moving.values())
  }
}
