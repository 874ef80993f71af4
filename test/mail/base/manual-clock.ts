/** A clock that stands still until a test moves it. Sleeps end in the order of their time; nothing else moves it. */
import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../../services/mail/base/time.ts'

const START_WALL_MS = 1_700_000_000_000

type Sleeper = { atMs: number; wake(): void }

export class ManualClock implements Clock {
  #passedMs = 0
  #jumpedMs = 0
  readonly #sleepers = new Set<Sleeper>()
  readonly #settle: () => Promise<unknown>

  /** @param settle ends when all that follows from a sleep has happened. */
  constructor(settle: () => Promise<unknown> = () => turn()) {
    this.#settle = settle
  }

  wallMs(): number {
    return START_WALL_MS + this.#passedMs + this.#jumpedMs
  }
  monoMs(): number {
    return this.#passedMs
  }
  /** How many sleeps have not ended: what would keep a process alive. */
  get sleeping(): number {
    return this.#sleepers.size
  }
  /** Somebody sets the wall clock. */
  jump(ms: number): void {
    this.#jumpedMs += ms
  }
  sleep(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    return new Promise((resolve, reject) => {
      const over = (): void => {
        this.#sleepers.delete(sleeper)
        signal.removeEventListener('abort', onAbort)
      }
      const sleeper = {
        atMs: this.#passedMs + Math.max(0, ms),
        wake: () => {
          over()
          resolve()
        },
      }
      const onAbort = (): void => {
        over()
        reject(signal.reason)
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#sleepers.add(sleeper)
    })
  }
  /** Lets time pass, sleep by sleep, each with all that follows from it. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#passedMs + ms
    await this.#settle()
    for (;;) {
      const [next] = [...this.#sleepers].toSorted((a, b) => a.atMs - b.atMs)
      if (next === undefined || next.atMs > endMs) break
      this.#passedMs = Math.max(this.#passedMs, next.atMs)
      next.wake()
      await this.#settle()
    }
    this.#passedMs = endMs
    await this.#settle()
  }
}
