/**
 * The audit of an account as its worker runs it: first the stream against the ledger, then the provider's whole list of ids
 * against the rows. What is missing is fetched and published like any other mail. It also knows when an account is proven
 * to be complete: when a walk over everything has come to its end, and by each audit after that.
 */
import { eventId, PROVIDER_UPPER } from '#shared/event.ts'
import { type AccountRef, AUDIT_STREAM, isAudit, type LaneState, type MessageMeta, toSeconds } from '../base/model.ts'
import type { Limiter, Page } from '../provider/provider.ts'
import {
  type Audit,
  clearListed,
  countListed,
  type Finding,
  NO_AUDIT,
  noteListed,
  putAudit,
  withFindings,
} from '../store/audits.ts'
import { DiskError } from '../store/disk-errors.ts'
import { deleteLane, putLane } from '../store/lanes.ts'
import { countStored } from '../store/messages.ts'
import type { UserTx } from '../store/user-store.ts'
import type { AccountState } from './account-state.ts'
import { newLane } from './commit-page.ts'
import { backfillDone } from './plan.ts'
import type { LaneHost } from './worker-deps.ts'

/** Mail that came within this time may not have been polled yet: seconds before now, by its own date. */
const FRESH_S = 600

/** Every walk has reached its end, and nothing waits to be fetched. */
export const isWalked = ({ lanes, queue }: AccountState): boolean => backfillDone([...lanes.values()], queue.waiting)
export const isAuditing = ({ lanes }: AccountState): boolean => [...lanes.keys()].some(isAudit)
/** New mail that a poll has just listed is fetched at once: that is no backfill, though not everything is there. */
const isBackfilled = ({ lanes, queue }: AccountState): boolean =>
  backfillDone([...lanes.values()], queue.waiting - queue.urgent)
/** Known to have everything that is not new: only then may anybody be told that the account is live. */
export const isComplete = (state: AccountState): boolean => isBackfilled(state) && state.audit.provenMs !== null

/**
 * Begins an audit, unless one runs, or a walk that proves the account by itself. @throws as a commit of the store does
 * @param lanes the first ones: the stream's for one that somebody has asked for, the provider's for one that is only to prove
 */
function begin(host: LaneHost, lanes: readonly LaneState[], nowMs: number): void {
  const { deps, account, epoch, state } = host
  if (isAuditing(state) || !isWalked(state)) return
  const audit = begun(state.audit, nowMs)
  deps.store.commit(account.userId, epoch, (tx) => {
    clearListed(tx, account)
    for (const lane of lanes) putLane(tx, account, lane)
    putAudit(tx, account, audit)
  })
  for (const lane of lanes) state.lanes.set(lane.lane, lane)
  state.audit = audit
}

export const beginAudit = (host: LaneHost, nowMs: number): void => begin(host, [newLane(AUDIT_STREAM)], nowMs)

const providerLanes = ({ deps, state }: LaneHost): LaneState[] =>
  deps.provider.auditLanes([...state.lanes.keys()]).map(newLane)

/** Walked to its end by a version that asked for no proof, or by an owner that left none. */
export function proveOld(host: LaneHost, nowMs: number): void {
  if (host.state.audit.provenMs !== null) return
  try {
    begin(host, providerLanes(host), nowMs)
  } catch (error) {
    if (!(error instanceof DiskError)) throw error
    host.deps.log.error({ err: error }, 'the disk refuses an audit')
  }
}

const begun = ({ provenMs, providerTotal }: Audit, nowMs: number): Audit => ({
  ...NO_AUDIT,
  startedMs: nowMs,
  provenMs,
  providerTotal,
})

/** One page of the stream against the ledger. The lanes of the provider follow the last one. */
export async function auditStream(host: LaneHost, signal: AbortSignal): Promise<void> {
  const { deps, account, epoch, state } = host
  const asked = state.lanes.get(AUDIT_STREAM)
  if (asked === undefined) return
  const { cursor, settle } =
    deps.auditCompares === false ? NOTHING : await deps.auditSubject(account, asked.cursor, signal)
  signal.throwIfAborted()
  if (state.lanes.get(AUDIT_STREAM)?.cursor !== asked.cursor || !deps.owns()) return
  const nowMs = host.nowMs()
  const next: LaneState[] = cursor === null ? providerLanes(host) : [{ ...asked, cursor, notBeforeMs: 0, failures: 0 }]
  const saved = { audit: state.audit, faults: state.faults }
  let found: Finding[] = []
  try {
    deps.store.commit(account.userId, epoch, (tx) => {
      found = settle(tx, nowMs)
      state.audit = withFindings(state.audit, found)
      state.succeeded(AUDIT_STREAM, (lane) => state.lanes.has(lane), nowMs)
      if (cursor === null) deleteLane(tx, account, AUDIT_STREAM)
      for (const lane of next) putLane(tx, account, lane)
      putAudit(tx, account, state.audit)
      host.putStatus(tx, nowMs)
    })
  } catch (error) {
    Object.assign(state, saved)
    throw error
  }
  if (cursor === null) state.lanes.delete(AUDIT_STREAM)
  for (const lane of next) state.lanes.set(lane.lane, lane)
  // What the stream has lost waits in the outbox now.
  deps.committed(!found.some(({ what }) => what === 'absent'))
}

const NOTHING = { cursor: null, settle: (): Finding[] => [] }

/** A limiter that adds up what is asked of it. */
export const counted = (limiter: Limiter, spent: { cost: number }): Limiter => ({
  batchSize: (cost, priority) => limiter.batchSize(cost, priority),
  get pausedMs() {
    return limiter.pausedMs
  },
  refused: (facts) => limiter.refused(facts),
  run: (cost, ...rest) => {
    spent.cost += cost
    return limiter.run(cost, ...rest)
  },
})

/** A page that was stored, and the account before it. */
export type Noted = {
  lane: string
  page: Page
  /** Of the page, what had no row before. */
  fresh: readonly MessageMeta[]
  cost: number
  was: { walked: boolean; auditing: boolean }
}

/**
 * What a page means for audit and proof, in the transaction that stores it; lanes and queue of the state are those after it.
 */
export function noteAudit(tx: UserTx, host: LaneHost, noted: Noted, nowMs: number): void {
  const { account, state } = host
  const before = state.audit
  const { lane, page, was } = noted
  let audit = isAudit(lane) ? audited(tx, host, noted, nowMs) : before
  const isOver = was.auditing && !isAuditing(state)
  if (isOver) audit = finished(tx, account, audit, nowMs)
  if (page.unproven === true && !isAuditing(state)) {
    audit = begun({ ...audit, provenMs: null }, nowMs)
    clearListed(tx, account)
    for (const first of providerLanes(host)) {
      state.lanes.set(first.lane, first)
      putLane(tx, account, first)
    }
  }
  const isNews = isOver || !was.walked || audit.provenMs === null
  // What is set aside is listed and not stored.
  const isWhole = isWalked(state) && !isAuditing(state) && state.queue.setAside === 0
  if (isNews && isWhole) audit = { ...audit, provenMs: nowMs }
  if (audit === before) return
  state.audit = audit
  putAudit(tx, account, audit)
}

function audited(tx: UserTx, { account, state }: LaneHost, { page, fresh, cost }: Noted, nowMs: number): Audit {
  if (page.listed !== undefined) noteListed(tx, account, page.listed.ids)
  const isOld = ({ msgDate }: MessageMeta): boolean => msgDate === null || msgDate < toSeconds(nowMs) - FRESH_S
  const idOf = ({ id }: MessageMeta) => eventId(account.userId, PROVIDER_UPPER[account.provider], account.inboxId, id)
  const missing = fresh.filter(isOld).map((mail): Finding => ({ what: 'missing', eventId: idOf(mail), seq: null }))
  const { passes, cost: before, provenMs } = state.audit
  return {
    ...withFindings(state.audit, missing),
    passes: Math.max(passes, page.listed?.pass ?? 0),
    cost: before + cost,
    provenMs: missing.length > 0 ? null : provenMs,
  }
}

function finished(tx: UserTx, account: AccountRef, audit: Audit, nowMs: number): Audit {
  const providerTotal = countListed(tx, account)
  clearListed(tx, account)
  return { ...audit, providerTotal, gone: Math.max(0, countStored(tx, account) - providerTotal), finishedMs: nowMs }
}
