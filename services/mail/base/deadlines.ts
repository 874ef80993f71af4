/**
 * Deadlines of many short things that all have the same time: one timer for all of them, because nearly every one ends long
 * before its own. It runs only while something is open, and for a moment after.
 */
import { type Clock, pause } from './time.ts'

/** So long at most it sleeps on when nothing is open any more. */
const LOOK_MS = 1_000

/** A link of a list: what a `Set` has grown out of points to what it is now, and so each request kept those after it. */
type Open = { atMs: number; expire: () => void; before: Open; next: Open }

export class Deadlines {
  readonly #clock: Clock
  readonly #ms: number
  /** Both ends of those that are open, in the order in which they end. Bound: what is open. */
  readonly #ends: Open
  readonly #closed = new AbortController()
  #isRunning = false

  constructor(ms: number, clock: Clock) {
    this.#ms = ms
    this.#clock = clock
    const ends = { atMs: Number.POSITIVE_INFINITY, expire: () => undefined } as Open
    ends.before = ends
    ends.next = ends
    this.#ends = ends
  }

  /** Calls `expire` when the time is over, unless what is answered was called before. */
  begin(expire: () => void): () => void {
    const ends = this.#ends
    const open = { atMs: this.#clock.monoMs() + this.#ms, expire, before: ends.before, next: ends }
    open.before.next = open
    ends.before = open
    if (!this.#isRunning) void this.#run()
    return () => end(open)
  }

  close(): void {
    this.#closed.abort(new Error('deadlines closed'))
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    const { signal } = this.#closed
    while (!signal.aborted) {
      const first = this.#ends.next
      if (first === this.#ends) break
      const leftMs = first.atMs - this.#clock.monoMs()
      if (leftMs > 0) await pause(this.#clock, Math.min(leftMs, LOOK_MS), signal)
      else {
        end(first)
        first.expire()
      }
    }
    this.#isRunning = false
  }
}

/** Takes it out, once or again. What is over points to nothing that comes later. */
function end(open: Open): void {
  open.before.next = open.next
  open.next.before = open.before
  open.before = open
  open.next = open
}
