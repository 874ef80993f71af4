/**
 * When mailboxes are polled. Each user has moments of its own, the same whoever owns the user: polls are spread evenly,
 * and a new owner goes on at the moment at which the old one would have. The longer a mailbox has been quiet, the more of
 * them are left out, by a rule that every owner can follow from the time of the last news alone. Pure.
 */
import { hash } from 'node:crypto'

const HEX_DIGITS = 8
/**
 * Moments lie on a grid, ms: polls that are due together take one wake-up of the process (ADR 0041). One of an interval that is
 * no multiple of it lies beside the grid later on.
 */
export const MOMENT_MS = 50
/** Mail waits at most for this part of the time for which there was none before it. */
const QUIET_SHARE = 1 / 10

/** The bounds that are configured. `intervalMaxMs` ≤ `intervalMs`: the interval never grows. */
export type Pace = { intervalMs: number; intervalMaxMs: number }
export type Schedule = {
  pace: Pace
  /** The user's part of each interval, see `slotOf`. */
  slot: number
  /** Since when the mailbox is quiet, epoch ms; 0 = for ever. */
  newsMs: number
}

/** The user's part of the interval, 0 ≤ slot < 1. */
export const slotOf = (userId: string): number =>
  Number.parseInt(hash('sha256', userId, 'hex').slice(0, HEX_DIGITS), 16) / 16 ** HEX_DIGITS

/** The interval in force after so much quiet: the least one, doubled as often as quiet and bound allow. */
export function intervalAt(quietMs: number, { intervalMs, intervalMaxMs }: Pace): number {
  const mostMs = Math.min(intervalMaxMs, quietMs * QUIET_SHARE)
  let ms = intervalMs
  while (2 * ms <= mostMs) ms *= 2
  return ms
}

/** The interval of a mailbox in which there never was any mail. */
export const longestIntervalMs = (pace: Pace): number => intervalAt(Number.POSITIVE_INFINITY, pace)

/**
 * The first moment after the given one at which the mailbox is polled, epoch ms. A moment is one of the user's, and counts
 * if it is one of the interval that is in force then: so it does not matter from where one asks.
 */
export function nextPollMs(afterMs: number, { pace, slot, newsMs }: Schedule): number {
  // Those of a longer interval are among those of the shorter ones.
  const offsetMs = firstMomentMs(slot, pace)
  for (let intervalMs = intervalAt(afterMs - newsMs, pace); ; ) {
    const atMs = momentAfter(afterMs, intervalMs, offsetMs)
    const inForceMs = intervalAt(atMs - newsMs, pace)
    if (inForceMs === intervalMs) return atMs
    intervalMs = inForceMs
  }
}

/** The user's first moment of all, ms after 1970 began: those of any interval lie whole intervals after it. */
export const firstMomentMs = (slot: number, pace: Pace): number =>
  Math.floor((slot * longestIntervalMs(pace)) / MOMENT_MS) * MOMENT_MS

const momentAfter = (afterMs: number, everyMs: number, offsetMs: number): number =>
  (Math.floor((afterMs - offsetMs) / everyMs) + 1) * everyMs + offsetMs
