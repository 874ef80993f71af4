/** The times of sessions and leases, all derived from the silence T so that they always fit together. */

export type LeaseTimes = {
  /** Silence after which a session counts as dead. */
  silenceMs: number
  heartbeatMs: number
  /** From the opening of a session to its first heartbeat. */
  firstBeatMs: number
  requestMs: number
  /** Distance kept from the own deadline. */
  marginMs: number
  scanMs: number
  drainMs: number
  joinDebounceMs: number
  /** How long a watch may not be complete before the instance says that it can keep no users. */
  blindMs: number
}

/** However long the silence: a hand-over whose first request is never answered still fits into the drain limit. */
const REQUEST_MAX_MS = 5_000

/** T = 6 s gives heartbeat 1.5 s, the first 0.75 s, request 1 s, margin 0.6 s, scan 250 ms, join debounce 1.2 s. Draining is 10 s always. */
export const leaseTimes = (silenceMs: number): LeaseTimes => ({
  silenceMs,
  heartbeatMs: Math.round(silenceMs / 4),
  firstBeatMs: Math.round(silenceMs / 8),
  requestMs: Math.min(REQUEST_MAX_MS, Math.round(silenceMs / 6)),
  marginMs: Math.round(silenceMs / 10),
  scanMs: Math.min(250, Math.round(silenceMs / 24)),
  drainMs: 10_000,
  joinDebounceMs: Math.round(silenceMs / 5),
  blindMs: silenceMs,
})
