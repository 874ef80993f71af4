/**
 * Alarms of many who each wait for one moment: one timer for all of them, and who is due at the same moment is woken together.
 * A timer, a promise and a signal for each would hold more memory than all else that is known of a user at rest.
 */
import type { Clock } from './time.ts'
import { Wake } from './wake.ts'

/** A timer that ends so much early is not set anew. */
const EARLY_MS = 1

export type Alarm = {
  /** On the monotonic clock, ms. */
  readonly atMs: number
  /** Called once. Who does not wait any more does nothing: nothing is taken back. */
  ring(): void
}

export class Alarms {
  readonly #clock: Clock
  /**
   * A binary heap, the earliest first. Bound: one for each that waits, and those who have stopped waiting until their moment
   * has come.
   */
  readonly #heap: Alarm[] = []
  readonly #earlier = new Wake()
  readonly #closed = new AbortController()
  #isRunning = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  set(alarm: Alarm): void {
    if (this.#closed.signal.aborted) return
    this.#heap.push(alarm)
    if (this.#rise(this.#heap.length - 1) === 0) this.#earlier.ring()
    if (!this.#isRunning) void this.#run()
  }

  /** Nobody is woken any more. */
  close(): void {
    this.#heap.length = 0
    this.#closed.abort(new Error('alarms closed'))
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    const { signal } = this.#closed
    for (let first = this.#heap[0]; first !== undefined && !signal.aborted; first = this.#heap[0]) {
      const leftMs = first.atMs - this.#clock.monoMs()
      if (leftMs > EARLY_MS) await this.#earlier.rest(leftMs, this.#clock, signal)
      else this.#pop().ring()
    }
    this.#isRunning = false
  }

  #pop(): Alarm {
    const heap = this.#heap
    const [first, last] = [heap[0] as Alarm, heap.pop() as Alarm]
    if (heap.length > 0) {
      heap[0] = last
      this.#sink()
    }
    return first
  }

  /** @returns where it stands then */
  #rise(from: number): number {
    const heap = this.#heap
    const alarm = heap[from] as Alarm
    let at = from
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = heap[above] as Alarm
      if (parent.atMs <= alarm.atMs) break
      heap[at] = parent
      at = above
    }
    heap[at] = alarm
    return at
  }

  #sink(): void {
    const heap = this.#heap
    const alarm = heap[0] as Alarm
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && (heap[below + 1] as Alarm).atMs < (heap[below] as Alarm).atMs) below += 1
      const child = heap[below] as Alarm
      if (child.atMs >= alarm.atMs) break
      heap[at] = child
      at = below
    }
    heap[at] = alarm
  }
}
