/** A bell: whoever waits goes on when it rings, at the deadline, or with the signal. A ring while nobody waits is kept. */
import { type Clock, pause } from './time.ts'

/** One for all: an error with a stack per ring is most of its cost. */
const RUNG: unknown = new Error('rung')

export class Wake {
  #rung = false
  #ring: (() => void) | null = null

  ring(): void {
    this.#rung = true
    this.#ring?.()
  }

  /** Resolves at the next ring, after `ms`, or when the signal aborts: the caller looks at the signal. */
  async rest(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
    if (!this.#rung && !signal.aborted) {
      const rung = new AbortController()
      this.#ring = () => rung.abort(RUNG)
      await pause(clock, ms, AbortSignal.any([signal, rung.signal]))
      this.#ring = null
    }
    this.#rung = false
  }

  /** As `rest`, but rejects with the reason of the signal. */
  async wait(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
    await this.rest(ms, clock, signal)
    signal.throwIfAborted()
  }
}
