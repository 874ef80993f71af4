/** The answer of `mail.status` for one account, from what its worker and its relay know. Pure. */

import type { AccountStatus, AccountState as State } from '#shared/contract.ts'
import { ACCOUNT_ERRORS, type AccountErrorCode, ERRORS } from '#shared/errors.ts'
import { isAudit, isRefill, isRewalk, type ProviderName, toSeconds } from '../base/model.ts'
import { intervalAt, nextPollMs, type Pace } from '../base/slot.ts'
import type { AccountState, Fault } from './account-state.ts'
import { isComplete, isWalked } from './audit.ts'

export type OutboxStatus = {
  pending: number
  oldestTsMs: number | null
  error: AccountErrorCode | null
  streamReset: boolean
  gapBefore: number | null
}
export type StatusInput = {
  provider: ProviderName
  inboxId: string
  state: AccountState
  outbox: OutboxStatus
  polled(lane: string): boolean
  nowMs: number
  pace: Pace
  /** The user's part of each interval. */
  slot: number
  instance: string
}

const OUTBOX_AGE_MAX_MS = 60_000
const POLLS_MISSED_MAX = 3

export const errorText = (code: string): string =>
  code in ACCOUNT_ERRORS
    ? ACCOUNT_ERRORS[code as keyof typeof ACCOUNT_ERRORS]
    : code in ERRORS
      ? ERRORS[code as keyof typeof ERRORS].message
      : code

/** The fault as status and `provider_sync_state` show it; times in epoch seconds. */
export const lastErrorOf = (fault: Fault | null): AccountStatus['last_error'] =>
  fault === null
    ? null
    : {
        code: fault.code,
        message: errorText(fault.code),
        at: toSeconds(fault.atMs),
        retry_at: fault.retryAtMs === null ? null : toSeconds(fault.retryAtMs),
        count: fault.count,
      }

export function accountStatus(input: StatusInput): AccountStatus {
  const { state, outbox, nowMs } = input
  const fault = currentFault(input)
  const polls = [...state.lanes.values()].filter((lane) => input.polled(lane.lane)).map((lane) => lane.syncedMs)
  const lastMs = state.lastSyncedMs()
  const schedule = { pace: input.pace, slot: input.slot, newsMs: state.newsMs }
  return {
    provider: input.provider,
    inbox_id: input.inboxId,
    address: state.address,
    state: stateOf(input, fault),
    progress: progressOf(input),
    last_synced_at: lastMs === 0 ? null : toSeconds(lastMs),
    next_sync_at: polls.length === 0 ? null : toSeconds(Math.max(nowMs, nextPollMs(Math.min(...polls), schedule))),
    outbox: {
      pending: outbox.pending,
      oldest_age_s: outbox.oldestTsMs === null ? null : Math.max(0, toSeconds(nowMs - outbox.oldestTsMs)),
    },
    set_aside: state.queue.setAside,
    last_error: lastErrorOf(fault),
    stream_reset: outbox.streamReset,
    refill: isRefilling(state),
    gap_before: outbox.gapBefore,
    completeness: {
      provider_total: state.audit.providerTotal,
      stored: state.stored,
      published: Math.max(0, state.stored - outbox.pending),
      proven_at: state.audit.provenMs === null ? null : toSeconds(state.audit.provenMs),
    },
    instance: input.instance,
    live: true,
  }
}

/** Nothing is left to do for the account but polls. */
export function isQuiet(input: StatusInput): boolean {
  const { state, outbox } = input
  if (outbox.pending > 0 || !isWalked(state) || [...state.lanes.keys()].some(isRewalk)) return false
  return stateOf(input, currentFault(input)) === 'live'
}

/** The account's own fault first, then what keeps its mail from the stream, then what is set aside, then silence. */
function currentFault(input: StatusInput): Fault | null {
  const { state, outbox, nowMs } = input
  const now = { atMs: nowMs, retryAtMs: null, count: 1 }
  if (state.fault !== null) return state.fault
  if (outbox.error !== null) return { code: outbox.error, ...now }
  if (outbox.oldestTsMs !== null && nowMs - outbox.oldestTsMs > OUTBOX_AGE_MAX_MS)
    return { code: 'NATS_UNAVAILABLE', ...now }
  if (state.queue.setAside > 0) return { code: 'MESSAGE_SET_ASIDE', ...now, count: state.queue.setAside }
  return isStale(input) ? { code: 'PROVIDER_DOWN', ...now } : null
}

/** Three polls in a row have not come: the positions are older than they should be. */
export function isStale({
  state,
  polled,
  nowMs,
  pace,
}: Pick<StatusInput, 'state' | 'polled' | 'nowMs' | 'pace'>): boolean {
  const oldest = state.oldestPollMs(polled)
  const turnMs = intervalAt(nowMs - state.newsMs, pace) * turnsOf(state, polled)
  return oldest !== null && nowMs - Math.max(oldest, state.sinceMs) > POLLS_MISSED_MAX * turnMs
}

const isRefilling = ({ lanes }: AccountState): boolean => [...lanes.keys()].some(isRefill)

/** Above 100 polled lanes they take turns. */
const turnsOf = (state: AccountState, polled: (lane: string) => boolean): number =>
  Math.max(1, Math.ceil([...state.lanes.keys()].filter(polled).length / 100))

function stateOf({ state, nowMs }: StatusInput, fault: Fault | null): State {
  if (state.ended !== null) return state.ended
  if (state.throttledUntilMs > nowMs) return 'throttled'
  if (fault?.code === 'SHARED_MAILBOX') return 'throttled'
  if (fault !== null) return 'retrying'
  if (!state.bound || state.lanes.size === 0) return 'connecting'
  return isComplete(state) ? 'live' : 'backfilling'
}

function progressOf({ state, nowMs }: StatusInput): AccountStatus['progress'] {
  const done = isWalked(state) && !isRefilling(state)
  const listed = state.lanes.size > 0 && [...state.lanes.values()].every(({ lane, done }) => done || isAudit(lane))
  const total = listed ? state.stored + state.queue.entries : state.estimate
  const rate = done ? null : state.ratePerS(nowMs)
  const left = total === null ? null : Math.max(0, total - state.stored)
  const part = total === null ? null : total === 0 ? 100 : Math.floor((state.stored / total) * 100)
  return {
    done: state.stored,
    total_estimate: total === null ? null : Math.max(total, state.stored),
    percent: done ? 100 : part === null ? null : Math.min(99, part),
    rate_per_s: rate,
    eta_s: done || left === null || rate === null || rate <= 0 ? null : Math.ceil(left / rate),
  }
}
