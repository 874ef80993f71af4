/**
 * What a mailbox does next: a pure function of its lanes, its fetch queue and the time.
 *
 *   lane not done            → walk it, one page after another (backfill, or a poll that has more)
 *   polled lane done         → ask it again at the user's next moment, more seldom the longer the mailbox is quiet; at once
 *                              while it has more
 *   lane that takes, ids due → fetch them; while ids are still being listed only for the urgent ones, first try or not,
 *                              because what is fetched and is no event would be listed, and fetched, in every pass
 *   lane with notBefore      → not before
 *   refill lane              → only when everything else is done, and behind it
 *   audit lane               → as a refill, and only when there is none of those
 *
 * Polls go before backfill, so that new mail does not wait for old mail.
 */
import { isAudit, isRefill, isRewalk, type LaneState } from '../base/model.ts'
import { intervalAt, nextPollMs, type Schedule } from '../base/slot.ts'

/** Up to this many polled lanes are all asked at each interval; beyond it all but the first take turns. */
const POLLED_EACH_TIME = 100

export type PlanInput = Schedule & {
  lanes: readonly LaneState[]
  /** Lanes with a page in flight. */
  running: ReadonlySet<string>
  /** Done lanes whose last page said that there is more right now. */
  more: ReadonlySet<string>
  nowMs: number
  maxParallel: number
  /** Entries that are due, urgent ones never tried, and when the next failed one is due, of all and of the urgent ones. */
  queue: { due: number; urgent: number; nextAtMs: number | null; nextUrgentAtMs: number | null }
  polled(lane: string): boolean
  takes(lane: string): number
}
export type Plan = {
  /** Lanes to ask now, in this order. */
  start: string[]
  /** When to plan again if nothing happens before; null = only when something happens. */
  waitUntilMs: number | null
}

type Due = { lane: string; atMs: number; rank: number }

export function plan(input: PlanInput): Plan {
  const polledDone = input.lanes.filter((lane) => lane.done && input.polled(lane.lane))
  const turns = Math.max(1, Math.ceil(polledDone.length / POLLED_EACH_TIME))
  const due = input.lanes
    .filter((lane) => !input.running.has(lane.lane))
    .map((lane) => dueOf(lane, input, lane === polledDone[0] ? 1 : turns))
    .filter((entry) => entry !== null)
  const ready = due.filter((entry) => entry.atMs <= input.nowMs).toSorted((a, b) => a.rank - b.rank || a.atMs - b.atMs)
  const start = ready.slice(0, Math.max(0, input.maxParallel - input.running.size)).map((entry) => entry.lane)
  const later = due.filter((entry) => entry.atMs > input.nowMs).map((entry) => entry.atMs)
  return { start, waitUntilMs: later.length === 0 ? null : Math.min(...later) }
}

function dueOf(lane: LaneState, input: PlanInput, turns: number): Due | null {
  if (input.takes(lane.lane) > 0) return takingLane(lane, input)
  if (isRewalk(lane.lane)) return rewalking(lane, input)
  if (!lane.done) return { lane: lane.lane, atMs: lane.notBeforeMs, rank: 2 }
  if (!input.polled(lane.lane)) return null
  const nextMs = input.more.has(lane.lane) ? input.nowMs : nextTurnMs(lane.syncedMs, turns, input)
  return { lane: lane.lane, atMs: Math.max(lane.notBeforeMs, nextMs), rank: 0 }
}

/** When a lane is polled next that was last polled then; of many lanes each has its turn at every `turns`th interval. */
const nextTurnMs = (syncedMs: number, turns: number, schedule: Schedule): number =>
  nextPollMs(syncedMs + (turns - 1) * intervalAt(syncedMs - schedule.newsMs, schedule.pace), schedule)

/** What ends the wait is a page of another lane, and after a page everything is planned anew. */
function rewalking(lane: LaneState, { lanes, queue }: PlanInput): Due | null {
  if (lane.done || !backfillDone(lanes, queue.due)) return null
  if (isAudit(lane.lane) && lanes.some((other) => isRefill(other.lane))) return null
  return { lane: lane.lane, atMs: lane.notBeforeMs, rank: 3 }
}

function takingLane(lane: LaneState, { lanes, queue, nowMs, polled, takes }: PlanInput): Due | null {
  const listing = lanes.some(
    (other) => !other.done && !polled(other.lane) && !isRewalk(other.lane) && takes(other.lane) === 0,
  )
  const waits = (listing ? queue.urgent : queue.due) > 0
  const atMs = waits ? nowMs : listing ? queue.nextUrgentAtMs : queue.nextAtMs
  return atMs === null ? null : { lane: lane.lane, atMs: Math.max(lane.notBeforeMs, atMs), rank: 1 }
}

/**
 * Every walk has reached its end once since it was last started over, and nothing waits to be fetched. Refills and
 * audits do not count: they go over what has been walked.
 */
export const backfillDone = (lanes: readonly LaneState[], waiting: number): boolean => {
  const walks = lanes.filter(({ lane }) => !isRewalk(lane))
  return walks.length > 0 && waiting === 0 && walks.every((lane) => lane.done)
}
