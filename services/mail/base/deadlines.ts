/**
 * Deadlines of many short things that all have the same time: one timer for all of them, because nearly every one ends long
 * before its own. It runs only while something is open, and for a moment after.
 */
import { type Clock, pause } from './time.ts'

/** So long at most it sleeps on when nothing is open any more. */
const LOOK_MS = 1_000

type Open = { atMs: number; expire(): void }

export class Deadlines {
  readonly #clock: Clock
  readonly #ms: number
  /** In the order in which they end. Bounded by what is open. */
  readonly #open = new Set<Open>()
  readonly #closed = new AbortController()
  #isRunning = false

  constructor(ms: number, clock: Clock) {
    this.#ms = ms
    this.#clock = clock
  }

  /** Calls `expire` when the time is over, unless what is answered was called before. */
  begin(expire: () => void): () => void {
    const open = { atMs: this.#clock.monoMs() + this.#ms, expire }
    this.#open.add(open)
    if (!this.#isRunning) void this.#run()
    return () => this.#open.delete(open)
  }

  close(): void {
    this.#closed.abort(new Error('deadlines closed'))
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    const { signal } = this.#closed
    while (!signal.aborted) {
      const [first] = this.#open
      if (first === undefined) break
      const leftMs = first.atMs - this.#clock.monoMs()
      if (leftMs > 0) await pause(this.#clock, Math.min(leftMs, LOOK_MS), signal)
      else {
        this.#open.delete(first)
        first.expire()
      }
    }
    this.#isRunning = false
  }
}
