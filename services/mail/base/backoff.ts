/** Pure delay arithmetic; the callers own the timers and the rows. */

export type Backoff = { baseMs: number; maxMs: number }

/** Provider faults: full jitter, 1 s to 5 min. */
export const PROVIDER_BACKOFF: Backoff = { baseMs: 1_000, maxMs: 300_000 }
/** NATS and the stream: quick, because nothing is lost while we wait. */
export const RELAY_BACKOFF: Backoff = { baseMs: 250, maxMs: 10_000 }

/** Upper bound of the delay after `failures` faults in a row, in ms. */
export const ceilingMs = (failures: number, { baseMs, maxMs }: Backoff): number =>
  Math.min(maxMs, baseMs * 2 ** Math.min(Math.max(failures - 1, 0), 20))

/** Full jitter: evenly spread over (0, ceiling], never below a tenth of the base. `random` is in [0, 1). */
export const delayMs = (failures: number, backoff: Backoff, random: number): number =>
  Math.max(backoff.baseMs / 10, Math.round(ceilingMs(failures, backoff) * random))

/** Delays of a message that cannot be read: 5 s, 60 s, 10 min, then doubling up to 6 h. */
export const setAsideDelayMs = (attempts: number): number =>
  [5_000, 60_000][attempts - 1] ?? Math.min(21_600_000, 600_000 * 2 ** Math.min(Math.max(attempts - 3, 0), 10))
