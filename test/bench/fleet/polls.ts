/** When each mailbox was polled, as the simulator has seen it. */
import type { Fleet } from './fleet.ts'

const POLLS = new Set(['gmail.history.list', 'graph.messages.delta'])

export type UserPolls = { last: number; first: number }

/**
 * The last poll of each user before it had its owner of now and the first after that, as monotonic times in ms; `first` is
 * infinite while there is none.
 */
export function pollsAround(fleet: Fleet, users: readonly string[]): Map<string, UserPolls> {
  const userOf = new Map(users.map((user) => [fleet.box.simUser(user), user]))
  const found = new Map(
    users.map((user) => [user, { last: Number.NEGATIVE_INFINITY, first: Number.POSITIVE_INFINITY }]),
  )
  for (const { route, mailbox, t } of fleet.box.sim.log()) {
    const user = userOf.get(mailbox ?? '')
    const polls = found.get(user ?? '')
    if (user === undefined || polls === undefined || !POLLS.has(route)) continue
    const atMs = t - performance.timeOrigin
    if (atMs < (fleet.watch.users.get(user)?.ownedMs ?? 0)) polls.last = Math.max(polls.last, atMs)
    else polls.first = Math.min(polls.first, atMs)
  }
  return found
}

/** How much later than one interval after the last one the next poll came, for each user, ms; infinite when none came. */
export const lateness = (polls: Iterable<UserPolls>, intervalMs: number): number[] =>
  [...polls].map(({ last, first }) => Math.max(0, first - (last + intervalMs)))
