/**
 * A poll of a mailbox for which nobody works: it asks from known positions and says whether nothing has happened since. It
 * moves and stores nothing; what there is, the worker asks for once more.
 */
import type { Secret } from '#shared/secret.ts'
import { type AccountRef, isRewalk, type LaneState } from '../base/model.ts'
import type { Limiter, MailProvider, PageRequest } from '../provider/provider.ts'
import { isIdle } from './commit-page.ts'
import { backfillDone } from './plan.ts'
import type { WorkerDeps } from './worker-deps.ts'

/** One for all accounts of a provider: with functions of its own each would hold as much as with all of its positions. */
export type IdlePollDeps = Pick<WorkerDeps, 'clock'> & {
  provider: MailProvider
  /** At once where it is held. */
  token(account: AccountRef, signal: AbortSignal): Secret | Promise<Secret>
  /** Made for each poll: between two of them there is nothing to remember but pauses, and those others keep. */
  limiter(account: AccountRef): Limiter
}

export type IdlePoll = {
  /**
   * True when nothing has happened since; a number when the mailbox is not to be asked for so long, ms.
   * @throws what a worker would meet, or the signal's reason
   */
  ask(signal: AbortSignal): Promise<boolean | number>
}

type Position = Pick<LaneState, 'lane' | 'cursor' | 'done'>

/** Null where a poll cannot be repeated, or where lanes are left to do something else than poll. */
export function idlePoll(account: AccountRef, lanes: readonly LaneState[], deps: IdlePollDeps): IdlePoll | null {
  const { provider } = deps
  const polled = lanes.filter(({ lane }) => provider.polled(lane))
  if (!provider.keepsPositions || polled.length === 0) return null
  const nowMs = deps.clock.wallMs()
  if (!backfillDone(lanes, 0) || lanes.some(({ lane, notBeforeMs }) => isRewalk(lane) || notBeforeMs > nowMs))
    return null
  // Of the others nothing is asked; a page that names one of them has found something.
  const positions = polled.map(({ lane, cursor, done }): Position => ({ lane, cursor, done }))
  return new FromPositions(account, positions, deps)
}

/** There is one for each account at rest: a function would hold twice as much. */
class FromPositions implements IdlePoll {
  readonly #account: AccountRef
  readonly #positions: readonly Position[]
  readonly #deps: IdlePollDeps

  constructor(account: AccountRef, positions: readonly Position[], deps: IdlePollDeps) {
    this.#account = account
    this.#positions = positions
    this.#deps = deps
  }

  ask(signal: AbortSignal): Promise<boolean | number> {
    return findsNothing(this.#account, this.#positions, this.#deps, signal)
  }
}

async function findsNothing(
  account: AccountRef,
  positions: readonly Position[],
  { provider, token, limiter: makeLimiter }: IdlePollDeps,
  signal: AbortSignal,
): Promise<boolean | number> {
  const limiter = makeLimiter(account)
  if (limiter.pausedMs > 0) return limiter.pausedMs
  const held = token(account, signal)
  const accessToken = held instanceof Promise ? await held : held
  const before = { get: (lane: string) => positions.find((position) => position.lane === lane) }
  const call = { accessToken, limiter, priority: 'incremental', signal } as const
  for (const { lane, cursor } of positions) {
    const page = await provider.page(requestOf(lane, cursor, before), call)
    if (page.more || page.skipped > 0 || page.cutOff !== undefined || !isIdle(page, [], before)) return false
  }
  return true
}

/** Nothing is known and nothing waits: whatever the page names is news. */
const none = (): Set<string> => new Set()
const NO_IDS: ReadonlySet<string> = new Set()
const NOTHING = {
  take: [],
  retried: NO_IDS,
  known: none,
  published: none,
  queued: none,
  accountAnswers: false,
  fetchesNew: false,
  hurries: () => false,
} satisfies Partial<PageRequest>

const requestOf = (
  lane: string,
  cursor: string | null,
  before: { get(lane: string): Position | undefined },
): PageRequest => ({ ...NOTHING, lane, cursor, cursorOf: (other) => before.get(other)?.cursor })
