/** Which polls were due in a time, and how late each of them came. Pure. */

/** Before a moment by less than this, a poll is still the one of that moment. */
const EARLY_MS = 100

export type Polled = { user: string; atMs: number }
export type Due = {
  /** When in each interval a user is polled, ms after its beginning. */
  moments: ReadonlyMap<string, number>
  intervalMs: number
  /** The time in which they are due, epoch ms. */
  fromMs: number
  toMs: number
}

/**
 * How late each poll was that was due in that time, ms, in the order in which they were due: from the user's moment until the
 * next poll of this user. One that was left out is as late as the one after it; where none followed, infinitely.
 * @param polls in the order in which they came, also those before and after that time
 */
export function latenessOf(polls: readonly Polled[], { moments, intervalMs, fromMs, toMs }: Due): number[] {
  const came = Map.groupBy(polls, ({ user }) => user)
  const due: { dueMs: number; lateMs: number }[] = []
  for (const [user, momentMs] of moments) {
    const own = came.get(user) ?? []
    let next = 0
    let dueMs = Math.ceil((fromMs - momentMs) / intervalMs) * intervalMs + momentMs
    for (; dueMs < toMs; dueMs += intervalMs) {
      while (next < own.length && (own[next]?.atMs ?? 0) < dueMs - EARLY_MS) next++
      due.push({ dueMs, lateMs: (own[next]?.atMs ?? Number.POSITIVE_INFINITY) - dueMs })
    }
  }
  return due.toSorted((a, b) => a.dueMs - b.dueMs).map(({ lateMs }) => lateMs)
}
