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
      // By hand, because AbortSignal.any costs more than the whole wait, and every mailbox waits three times at a time.
      const over = new AbortController()
      const end = (): void => over.abort(RUNG)
      signal.addEventListener('abort', end, { once: true })
      await new Promise<void>((resolve, reject) => {
        this.#ring = resolve
        pause(clock, ms, over.signal).then(resolve, reject)
      })
      this.#ring = null
      signal.removeEventListener('abort', end)
      // The timer ends after what it was woken for has been begun: that is new mail, and ending it takes longer than waking.
      setImmediate(end)
    }
    this.#rung = false
  }

  /** As `rest`, but rejects with the reason of the signal. */
  async wait(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
    await this.rest(ms, clock, signal)
    signal.throwIfAborted()
  }
}
