/** How often something happens, over the last minute. It counts by seconds, so that it forgets without a timer. */
import type { Clock } from './time.ts'

const SECONDS = 60

export class Rate {
  readonly #clock: Clock
  readonly #startMs: number
  readonly #counts = Array<number>(SECONDS).fill(0)
  #second: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startMs = clock.monoMs()
    this.#second = Math.floor(this.#startMs / 1000)
  }

  add(times: number): void {
    this.#forget()
    const slot = this.#second % SECONDS
    this.#counts[slot] = (this.#counts[slot] ?? 0) + times
  }

  /** Of a start less than a minute ago: since then, counted as one second at least. */
  perSecond(): number {
    this.#forget()
    const nowMs = this.#clock.monoMs()
    const keptMs = nowMs - (this.#second - SECONDS + 1) * 1000
    const seconds = Math.max(1, Math.min(keptMs, nowMs - this.#startMs) / 1000)
    return this.#counts.reduce((sum, count) => sum + count, 0) / seconds
  }

  #forget(): void {
    const now = Math.floor(this.#clock.monoMs() / 1000)
    for (let second = Math.max(this.#second, now - SECONDS) + 1; second <= now; second++)
      this.#counts[second % SECONDS] = 0
    this.#second = Math.max(this.#second, now)
  }
}
