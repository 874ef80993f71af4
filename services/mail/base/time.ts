/** Time: the only source of clocks and sleeps in the service, so that a simulation can replace it. */

export type Clock = {
  /** Epoch milliseconds; may jump. For rows and answers, never for deadlines. */
  wallMs(): number
  /** Monotonic milliseconds; for deadlines. */
  monoMs(): number
  /** Resolves after `ms`, rejects with the reason of the signal. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

const TIMER_MAX_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  // Of the machine, not of the process: what instances on one machine log can be compared.
  monoMs: () => Number(process.hrtime.bigint()) / 1e6,
  // Not that of node:timers/promises: it makes an error with a stack for each sleep that ends early, and most do.
  sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted()
      const onAbort = (): void => {
        clearTimeout(timer)
        reject(signal.reason)
      }
      const over = (): void => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      }
      const timer = setTimeout(over, Math.min(Math.max(ms, 0), TIMER_MAX_MS))
      signal.addEventListener('abort', onAbort, { once: true })
    })
  },
}

/** Sleeps like the clock, but an aborted signal only ends the pause: for loops that look at the signal themselves. */
export async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, signal)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

const ENDED: unknown = new Error('ended')

/** Whether the work has ended after `ms`; it goes on in any case. @throws what the work throws in time. */
export async function endsWithin(clock: Clock, ms: number, work: Promise<unknown>): Promise<boolean> {
  const ended = new AbortController()
  const late = pause(clock, ms, ended.signal).then(() => ended.signal.aborted)
  try {
    return await Promise.race([work.then(() => true), late])
  } finally {
    ended.abort(ENDED)
  }
}
