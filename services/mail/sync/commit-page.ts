/**
 * One page of one lane into the user's database: new mail, its outbox rows, the fetch queue and the moved cursors in
 * ONE transaction of the owner's epoch. Either all of it stands there or nothing does.
 */

import { setAsideDelayMs } from '../base/backoff.ts'
import { type AccountRef, type Epoch, type LaneState, type MessageMeta, stateName } from '../base/model.ts'
import type { FailedMessage, Page } from '../provider/provider.ts'
import { enqueue, fail, finish, LOST_ATTEMPTS, remove, type Taken } from '../store/fetch-queue.ts'
import { deleteLane, putLane } from '../store/lanes.ts'
import { storeNew } from '../store/messages.ts'
import { readMeta } from '../store/meta.ts'
import type { OutboxRow } from '../store/outbox-rows.ts'
import { addPage, prunePages } from '../store/pages.ts'
import type { UserTx } from '../store/user-store.ts'

export type Committed = {
  stored: number
  events: number
  /** Of the outbox, one for each event, in their order. */
  rows: OutboxRow[]
  /** Mails that were stored and, because of a gap, not published. */
  doubtful: number
  enqueued: number
  /** Entries of the fetch queue after it less those before it. */
  queueGrowth: number
  gone: number
  lanes: LaneState[]
  dropped: string[]
}

/** When nothing at all of a take is found, the mailbox may be away: only after this many times, over a day, they are gone. */
const ALL_LOST_ATTEMPTS = 12

/** A page, the entries of the queue that it was asked for, and the lanes as they stand after it. */
export type Step = {
  page: Page
  /** The lane as the provider was asked for it, and the term that asked. */
  asked: Pick<LaneState, 'lane' | 'cursor'>
  epoch: Epoch
  taken: readonly Taken[]
  lanes: readonly LaneState[]
  /** The page shows what there was, not what is new. */
  isWalk: boolean
}

export function commitPage(tx: UserTx, account: AccountRef, step: Step, nowMs: number): Committed {
  const { page, taken, lanes } = step
  const pageId = notePage(tx, account, step, nowMs)
  const listedBy = new Map(taken.map((entry) => [entry.id, entry.listedBy]))
  const origin = { pageId, listedBy: (id: string) => listedBy.get(id) ?? null }
  const isDoubtful = doubt(tx, account, step)
  const { stored, events, rows, doubtful } = storeNew(tx, account, page.messages, nowMs, isDoubtful, origin)
  const { gone, growth } = settleTaken(tx, account, step, pageId, nowMs)
  const queued = enqueue(tx, account, page.enqueue.ids, { urgent: page.enqueue.urgent, listedBy: pageId })
  const { written: enqueued, replaced } = queued
  // All of it was known.
  if (stored + enqueued === 0) prunePages(tx, [pageId])
  for (const lane of lanes) putLane(tx, account, lane)
  for (const lane of page.dropLanes) deleteLane(tx, account, lane)
  const queueGrowth = growth + enqueued - replaced
  return { stored, events, rows, doubtful, enqueued, queueGrowth, gone, lanes: [...lanes], dropped: page.dropLanes }
}

/** A page that brings nothing leaves no row. */
function notePage(tx: UserTx, account: AccountRef, { page, asked, epoch, taken }: Step, nowMs: number): number | null {
  const { messages, enqueue: listed, failed, lanes, dropLanes } = page
  const isQueued = failed.some(({ id }) => !taken.some((entry) => entry.id === id))
  if (messages.length + listed.ids.length === 0 && !isQueued) return null
  const moved = lanes.find(({ lane }) => lane === asked.lane) ?? asked
  const nextCursor = dropLanes.includes(asked.lane) ? null : moved.cursor
  return addPage(tx, account, { lane: asked.lane, cursor: asked.cursor, nextCursor, epoch, atMs: nowMs })
}

/** In a gap, old mail that is found may have been published; mail that arrives was not. */
function doubt(tx: UserTx, account: AccountRef, { taken, isWalk }: Step): (mail: MessageMeta) => boolean {
  if (taken.length === 0 && !isWalk) return () => false
  const gapBefore = readMeta(tx)?.gaps[stateName(account)]
  if (gapBefore === undefined) return () => false
  const urgent = new Map(taken.map((entry) => [entry.id, entry.urgent]))
  return ({ id, msgDate }) => msgDate !== null && msgDate < gapBefore && !(urgent.get(id) ?? !isWalk)
}

/**
 * How often the message was tried now. Only that it is not found again and again makes it gone, so what it was refused
 * for before does not count towards that.
 */
const triedNow = (entry: Taken, reason: FailedMessage['reason']): number =>
  reason === 'missing' && entry.reason !== 'missing' ? 1 : entry.attempts + 1

const isLost = ({ reason }: FailedMessage): boolean => reason === 'missing'

/** For example `503 backendError`. */
const errorOf = (facts: FailedMessage['facts']): string | null =>
  [facts?.status, facts?.code].filter((part) => part !== undefined).join(' ') || null

/** What was fetched or dropped leaves the queue, unless it was queued again since it was taken. */
function settleTaken(
  tx: UserTx,
  account: AccountRef,
  { page, taken }: Step,
  pageId: number | null,
  nowMs: number,
): { gone: number; growth: number } {
  const byId = new Map(taken.map((entry) => [entry.id, entry]))
  const over: Taken[] = []
  let gone = 0
  let growth = 0
  const isAllLost = page.failed.length > 1 && page.messages.length + page.drop.length === 0 && page.failed.every(isLost)
  for (const id of [...page.messages.map((message) => message.id), ...page.drop]) {
    const entry = byId.get(id)
    if (entry !== undefined) over.push(entry)
  }
  for (const { id, reason, facts } of page.failed) {
    const entry = byId.get(id)
    if (entry === undefined) {
      growth += enqueue(tx, account, [id], { urgent: false, listedBy: pageId }).written
      continue
    }
    const attempts = triedNow(entry, reason)
    if (reason === 'missing' && attempts >= (isAllLost ? ALL_LOST_ATTEMPTS : LOST_ATTEMPTS)) {
      over.push(entry)
      gone += 1
    } else {
      const error = errorOf(facts)
      fail(tx, account, { ...entry, reason, error, attempts, nextAtMs: nowMs + setAsideDelayMs(attempts) })
    }
  }
  growth -= finish(tx, account, over)
  growth -= remove(
    tx,
    account,
    page.drop.filter((id) => !byId.has(id)),
  )
  return { gone, growth }
}

/** The lanes that a page moves, as they stand after it. A lane that is done stays done until it starts over. */
export function movedLanes(
  page: Page,
  asked: LaneState,
  all: ReadonlyMap<string, LaneState>,
  nowMs: number,
): LaneState[] {
  const moved = new Map<string, LaneState>()
  const touch = (state: LaneState): LaneState => ({ ...state, notBeforeMs: 0, failures: 0, syncedMs: nowMs })
  for (const { lane, cursor, done } of page.lanes) {
    const before = all.get(lane) ?? newLane(lane)
    const next = { ...before, cursor, done: cursor === null ? done : done || before.done }
    // Started over by another lane: counting it makes a page that is still in flight void.
    if (cursor === null && lane !== asked.lane && all.has(lane)) next.resets += 1
    moved.set(lane, lane === asked.lane ? touch(next) : next)
  }
  if (!moved.has(asked.lane)) moved.set(asked.lane, touch(asked))
  for (const lane of page.dropLanes) moved.delete(lane)
  return [...moved.values()]
}

export const newLane = (lane: string): LaneState => ({
  lane,
  cursor: null,
  done: false,
  notBeforeMs: 0,
  failures: 0,
  syncedMs: 0,
  resets: 0,
  resetMs: 0,
})

/** Lanes as they stood before a page. */
type Before = { get(lane: string): Pick<LaneState, 'cursor' | 'done'> | undefined }

/** True when the page changes nothing that has to survive: then an idle poll writes nothing. */
export function isIdle(page: Page, taken: readonly Taken[], before: Before): boolean {
  return (
    taken.length === 0 &&
    page.messages.length + page.enqueue.ids.length + page.drop.length + page.failed.length + page.dropLanes.length ===
      0 &&
    page.lanes.every(
      ({ lane, cursor, done }) => before.get(lane)?.cursor === cursor && (before.get(lane)?.done || !done),
    )
  )
}
