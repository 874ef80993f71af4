/** A bell: whoever waits goes on when it rings, at the deadline, or with the signal. A ring while nobody waits is kept. */
import type { Clock } from './time.ts'

export class Wake {
  #rung = false
  #ring: (() => void) | null = null

  ring(): void {
    this.#rung = true
    this.#ring?.()
  }

  /** Resolves at the next ring or after `ms`; rejects with the reason of the signal. */
  async wait(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (!this.#rung) {
      const done = new AbortController()
      const rung = new Promise<void>((resolve) => {
        this.#ring = resolve
      })
      const slept = clock.sleep(ms, AbortSignal.any([signal, done.signal]))
      try {
        await Promise.race([rung, slept])
      } finally {
        this.#ring = null
        done.abort()
        await slept.catch(() => undefined)
      }
    }
    this.#rung = false
    signal.throwIfAborted()
  }
}
