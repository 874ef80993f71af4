/**
 * One page of one lane: token, provider, commit. An access token that is refused is refreshed once.
 * It throws what went wrong; the worker decides what that means.
 */
import type { Secret } from '#shared/secret.ts'
import { isAudit, isRefill, isRewalk, type LaneState, type MessageMeta } from '../base/model.ts'
import {
  type Call,
  emptyPage,
  type Page,
  type PageRequest,
  type Priority,
  ProviderError,
} from '../provider/provider.ts'
import { depthOf, type QueueDepth, queueDepth, queuedIds, type Taken, take } from '../store/fetch-queue.ts'
import { putLane } from '../store/lanes.ts'
import { knownIds, publishedIds } from '../store/messages.ts'
import type { UserTx } from '../store/user-store.ts'
import { counted, isAuditing, isWalked, noteAudit } from './audit.ts'
import { type Committed, commitPage, isIdle, movedLanes, newLane, type Step } from './commit-page.ts'
import type { LaneHost } from './worker-deps.ts'

/** So often is a page asked for that has items which cannot be read. */
const BROKEN_ASKS = 3
/** Mails of one transaction: a hundred, as Graph answers with, hold the event loop for more than ten milliseconds. */
const STORED_AT_ONCE = 50

/** Asks the provider for one page of the lane and commits it. */
export async function runLane(worker: LaneHost, lane: string, signal: AbortSignal): Promise<void> {
  const { deps, state, account } = worker
  if (deps.provider.takes(lane) > 0) await deps.store.turn(account.userId)
  signal.throwIfAborted()
  const asked = state.lanes.get(lane) ?? newLane(lane)
  refuseFullDisk(worker)
  const taken = takeIds(worker, lane)
  const isBlind = deps.auditCompares === false && isAudit(lane)
  const known: PageRequest['known'] = isBlind ? (ids) => new Set(ids) : idsIn(worker, knownIds)
  const urgent = new Set(taken.filter((entry) => entry.urgent).map(idOf))
  const isRefilling = [...state.lanes.keys()].some(isRefill)
  const request: PageRequest = {
    lane,
    cursor: asked.cursor,
    take: taken.map((entry) => entry.id),
    retried: new Set(taken.filter(({ attempts }) => attempts > 0).map(idOf)),
    known,
    published: isRefilling ? idsIn(worker, publishedIds) : known,
    // The figure is counted along, but that it is 0 has been read.
    queued: (ids) => (state.queue.entries === 0 ? new Set() : idsIn(worker, queuedIds)(ids)),
    cursorOf: (other) => state.lanes.get(other)?.cursor,
    accountAnswers: accountAnswers(worker, lane, taken),
    fetchesNew: state.queue.urgent === 0,
    hurries: (next) => state.queue.urgent > 0 && !urgent.has(next),
  }
  const priority = priorityOf(worker, asked)
  const spent = { cost: 0 }
  const page = await withToken(worker, signal, (call) => {
    const limiter = isAudit(lane) ? counted(call.limiter, spent) : call.limiter
    return deps.provider.page(request, { ...call, limiter, priority })
  })
  /** False when the lane was started over or dropped meanwhile: the page is no longer part of any walk. */
  const goesOn = async (): Promise<boolean> => {
    if (!isIdle(page, taken, state.lanes)) await deps.store.turn(account.userId)
    signal.throwIfAborted()
    const current = state.lanes.get(lane)
    return current?.cursor === asked.cursor && current.resets === asked.resets && deps.owns()
  }
  if (!(await goesOn())) return
  refuseBrokenItems(worker, lane, page)
  // What is taken or compared belongs to one transaction.
  const isWhole = taken.length > 0 || isAudit(lane)
  while (!isWhole && page.messages.length > STORED_AT_ONCE) {
    storeFirst(worker, asked, page.messages.splice(0, STORED_AT_ONCE))
    if (!(await goesOn())) return
  }
  settle(worker, { lane, page, taken, cost: spent.cost })
}

/** Mails of a page without its position: a crash before the rest is stored only has the page asked for again. */
function storeFirst(worker: LaneHost, asked: LaneState, messages: MessageMeta[]): void {
  const { deps, account, epoch, state } = worker
  const nowMs = worker.nowMs()
  const page = { ...emptyPage(), messages }
  const step = { page, asked, epoch, taken: [], lanes: [], isWalk: isWalk(worker, asked) }
  const committed = deps.store.commit(account.userId, epoch, (tx) => commitPage(tx, account, step, nowMs))
  state.stored += committed.stored
  if (committed.stored > 0) state.newsMs = nowMs
  tell(worker, committed)
}

/** Shows what there was, not what is new. */
const isWalk = ({ deps }: LaneHost, { lane, done }: LaneState): boolean => !(done && deps.provider.polled(lane))

function tell({ deps, account }: LaneHost, { stored, doubtful, gone, rows }: Committed): void {
  if (stored > 0) deps.telemetry.mailStored(account.provider, stored)
  if (doubtful > 0) deps.telemetry.gapMails(account.provider, doubtful)
  if (gone > 0) deps.telemetry.messagesGone(account.provider, gone)
  deps.committed(stored === 0, rows)
}

/**
 * An item that cannot be read may be a mail that only this answer has spoilt: the page is asked for again before the item is
 * passed over. Not more often, because Graph soon forgets a link that was followed.
 * @throws ProviderError transient, code BAD_ITEM
 */
function refuseBrokenItems({ state }: LaneHost, lane: string, page: Page): void {
  const asked = (state.brokenPages.get(lane) ?? 0) + 1
  if (page.skipped === 0 || asked >= BROKEN_ASKS) state.brokenPages.delete(lane)
  else {
    state.brokenPages.set(lane, asked)
    throw new ProviderError('transient', { operation: lane, status: 200, code: 'BAD_ITEM' })
  }
}

/** A page without ids, as most polls are, needs no database to be open. */
const idsIn =
  ({ deps, account }: LaneHost, query: typeof knownIds): PageRequest['known'] =>
  (ids) =>
    ids.length === 0 ? new Set() : deps.store.read(account.userId, (db) => query(db, account, ids))

function priorityOf({ deps }: LaneHost, { lane, done }: LaneState): Priority {
  if (isRewalk(lane)) return 'refill'
  return done && deps.provider.polled(lane) ? 'incremental' : 'backfill'
}

/** A page that cannot be stored is not asked for: while the disk is full, writing the status is the probe. */
function refuseFullDisk(worker: LaneHost): void {
  if (![...worker.state.faults.values()].some(({ code }) => code === 'DISK_FULL')) return
  const { deps, account, epoch } = worker
  const nowMs = worker.nowMs()
  deps.store.commit(account.userId, epoch, (tx) => worker.putStatus(tx, nowMs))
}

/** Binds the account to the mailbox that its credential opens, before the first page. */
export async function bindMailbox(worker: LaneHost, signal: AbortSignal): Promise<void> {
  const { deps, state } = worker
  const { identity, accessToken } = await withToken(worker, signal, async (call) => ({
    identity: await deps.provider.identify(call),
    accessToken: call.accessToken,
  }))
  if (!(await deps.bind(identity, accessToken))) {
    deps.refused(accessToken)
    throw new ProviderError('auth', { operation: 'identify', code: 'WRONG_MAILBOX' })
  }
  state.bound = true
  // Whoever has just connected waits for what comes.
  state.newsMs = worker.nowMs()
  state.address = identity.address
  state.estimate = identity.totalEstimate
}

/** An access token that is refused is refreshed once. */
export async function withToken<T>(
  worker: LaneHost,
  signal: AbortSignal,
  request: (call: Call) => Promise<T>,
): Promise<T> {
  const { deps, account } = worker
  const call = (accessToken: Secret): Promise<T> =>
    request({ accessToken, limiter: deps.limiter, priority: 'backfill', signal })
  const token = await deps.tokens.accessToken(account, { refresh: 'if-needed' }, signal)
  try {
    return await call(token)
  } catch (error) {
    if (!isAuth(error)) throw error
  }
  const renewed = await deps.tokens.accessToken(account, { refresh: 'force', rejected: token }, signal)
  try {
    return await call(renewed)
  } catch (error) {
    if (isAuth(error)) deps.refused(renewed)
    throw error
  }
}

const isAuth = (error: unknown): boolean => error instanceof ProviderError && error.kind === 'auth'

function takeIds(worker: LaneHost, lane: string): Taken[] {
  const { deps, account, state } = worker
  const count = deps.provider.takes(lane)
  if (count === 0) return []
  const nowMs = worker.nowMs()
  return deps.store.read(account.userId, (db) => {
    const taken = take(db, account, nowMs, count)
    // A figure that was too high would make it ask for ever.
    if (taken.length === 0) state.queue = queueDepth(db, account)
    return taken
  })
}

/** Whether a take that fails as a whole fails by its messages: others came through since, or all of it failed before. */
function accountAnswers({ state }: LaneHost, lane: string, taken: readonly Taken[]): boolean {
  const failedMs = state.faults.get(lane)?.atMs ?? Number.POSITIVE_INFINITY
  const others = [...state.lanes.values()].filter((other) => other.lane !== lane)
  return others.some(({ syncedMs }) => syncedMs > failedMs) || taken.every(({ attempts }) => attempts > 0)
}

type Came = { lane: string; page: Page; taken: readonly Taken[]; cost: number }

function settle(worker: LaneHost, { lane, page, taken, cost }: Came): void {
  const { deps, account, state } = worker
  const nowMs = worker.nowMs()
  const before = state.lanes.get(lane) ?? newLane(lane)
  const idle = isIdle(page, taken, state.lanes) && state.faults.size === 0
  const lanes = movedLanes(page, before, state.lanes, nowMs)
  const failed = page.failed.filter(({ reason }) => reason !== 'missing')
  if (failed.length > 0) deps.log.warn({ lane, failed }, 'messages are set aside')
  if (page.skipped > 0) deps.telemetry.itemsSkipped(account.provider, page.skipped)
  if (page.totalEstimate !== undefined) state.estimate = page.totalEstimate
  if (page.more) state.more.add(lane)
  else state.more.delete(lane)
  if (idle) {
    for (const each of lanes) state.lanes.set(each.lane, each)
    deps.idled?.()
    return
  }
  if (deps.cursorFirst === true)
    deps.store.commit(account.userId, worker.epoch, (tx) => {
      for (const each of lanes) putLane(tx, account, each)
    })
  const step = { page, asked: before, epoch: worker.epoch, taken, lanes, isWalk: isWalk(worker, before) }
  const committed = commit(worker, step, cost, nowMs)
  if (committed.stored + committed.enqueued > 0 || isUnderWay(worker, before)) state.newsMs = nowMs
  if (page.enqueue.urgent && committed.enqueued > 0) letFetch(worker, nowMs)
  tell(worker, committed)
  if (page.cutOff !== undefined) throw page.cutOff
}

/** A walk through the mailbox that has not come to its end. Those that go over it once more are none. */
const isUnderWay = ({ deps }: LaneHost, { lane, done }: LaneState): boolean =>
  !done && !isRewalk(lane) && deps.provider.takes(lane) === 0

/**
 * New mail was just listed, so the provider is there: a lane that fetches waits no longer for the one message that made
 * it back off. An announced pause of the whole mailbox stays.
 */
function letFetch({ deps, state }: LaneHost, nowMs: number): void {
  for (const lane of state.lanes.values())
    if (deps.provider.takes(lane.lane) > 0 && lane.notBeforeMs > nowMs && state.throttledUntilMs <= nowMs)
      state.lanes.set(lane.lane, { ...lane, notBeforeMs: 0 })
}

/** A lane that was dropped, or that fetches while nothing is left to fetch, has no next page to end its fault. */
const isAsked = ({ deps, state }: LaneHost, lane: string): boolean =>
  state.lanes.has(lane) && (deps.provider.takes(lane) === 0 || state.queue.entries > 0)

const NONE: ReadonlySet<string> = new Set()
const idOf = ({ id }: { id: string }): string => id

/** Counted along; where next to nothing is left it costs nothing to look. */
function depthAfter(tx: UserTx, { account, state }: LaneHost, growth: number): QueueDepth {
  const entries = state.queue.entries + growth
  return entries > 0 ? depthOf(tx, account, entries) : queueDepth(tx, account)
}

/** State in memory follows the transaction, never runs ahead of it. */
function commit(worker: LaneHost, step: Step, cost: number, nowMs: number): Committed {
  const { page, taken, lanes } = step
  const { lane } = step.asked
  const { deps, account, epoch, state } = worker
  const saved = {
    faults: state.faults,
    syncCursor: state.syncCursor,
    queue: state.queue,
    audit: state.audit,
    lanes: new Map(state.lanes),
  }
  try {
    const committed = deps.store.commit(account.userId, epoch, (tx) => {
      const was = { walked: isWalked(state), auditing: isAuditing(state) }
      const stored = isAudit(lane) ? knownIds(tx, account, page.messages.map(idOf)) : NONE
      const written = commitPage(tx, account, step, nowMs)
      if (written.enqueued > 0 || taken.length > 0 || page.drop.length > 0 || page.failed.length > 0)
        state.queue = depthAfter(tx, worker, written.queueGrowth)
      for (const each of lanes) state.lanes.set(each.lane, each)
      for (const dropped of page.dropLanes) state.lanes.delete(dropped)
      state.succeeded(lane, (other) => isAsked(worker, other), nowMs)
      state.syncCursor = page.syncCursor ?? state.syncCursor
      const fresh = page.messages.filter(({ id }) => !stored.has(id))
      noteAudit(tx, worker, { lane, page, fresh, cost, was }, nowMs)
      worker.putStatus(tx, nowMs)
      return written
    })
    state.stored += committed.stored
    state.progressed(nowMs)
    return committed
  } catch (error) {
    state.faults = saved.faults
    state.syncCursor = saved.syncCursor
    state.queue = saved.queue
    state.audit = saved.audit
    state.lanes.clear()
    for (const [name, value] of saved.lanes) state.lanes.set(name, value)
    throw error
  }
}
