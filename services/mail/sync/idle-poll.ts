/**
 * A poll of a mailbox for which nobody works: it asks from known positions and says whether nothing has happened since. It
 * moves and stores nothing; what there is, the worker asks for once more.
 */
import type { Secret } from '#shared/secret.ts'
import { isRewalk, type LaneState } from '../base/model.ts'
import type { PageRequest } from '../provider/provider.ts'
import { isIdle } from './commit-page.ts'
import type { MailboxLimiter } from './limiter.ts'
import { backfillDone } from './plan.ts'
import type { WorkerDeps } from './worker-deps.ts'

export type IdlePollDeps = Pick<WorkerDeps, 'provider' | 'sharers' | 'clock'> & {
  token(signal: AbortSignal): Promise<Secret>
  /** Made for each poll: between two of them there is nothing to remember but pauses, and those others keep. */
  limiter(): MailboxLimiter
}

/**
 * True when nothing has happened since; a number when the mailbox is not to be asked for so long, ms.
 * @throws what a worker would meet, or the signal's reason
 */
export type IdlePoll = (signal: AbortSignal) => Promise<boolean | number>

/** Null where a poll cannot be repeated, or where lanes are left to do something else than poll. */
export function idlePoll(lanes: readonly LaneState[], deps: IdlePollDeps): IdlePoll | null {
  const { provider } = deps
  if (!provider.keepsPositions || !lanes.some(({ lane }) => provider.polled(lane))) return null
  const nowMs = deps.clock.wallMs()
  if (!backfillDone(lanes, 0) || lanes.some(({ lane, notBeforeMs }) => isRewalk(lane) || notBeforeMs > nowMs))
    return null
  return (signal) => findsNothing(lanes, deps, signal)
}

async function findsNothing(
  lanes: readonly LaneState[],
  { provider, token, sharers, limiter: makeLimiter }: IdlePollDeps,
  signal: AbortSignal,
): Promise<boolean | number> {
  const byName = new Map(lanes.map((lane) => [lane.lane, lane]))
  const limiter = makeLimiter()
  if (limiter.pausedMs > 0) return limiter.pausedMs
  limiter.setSharers(sharers())
  const accessToken = await token(signal)
  for (const { lane, cursor } of lanes) {
    if (!provider.polled(lane)) continue
    const call = { accessToken, limiter, priority: 'incremental', signal } as const
    const page = await provider.page(requestOf(lane, cursor, byName), call)
    if (page.more || page.skipped > 0 || page.cutOff !== undefined || !isIdle(page, [], byName)) return false
  }
  return true
}

/** Nothing is known and nothing waits: whatever the page names is news. */
const none = (): Set<string> => new Set()
const NO_IDS: ReadonlySet<string> = new Set()

const requestOf = (
  lane: string,
  cursor: string | null,
  lanes: ReadonlyMap<string, Pick<LaneState, 'cursor'>>,
): PageRequest => ({
  lane,
  cursor,
  take: [],
  retried: NO_IDS,
  known: none,
  published: none,
  queued: none,
  cursorOf: (other) => lanes.get(other)?.cursor,
  accountAnswers: false,
  fetchesNew: false,
  hurries: () => false,
})
