/** What status says of one account of an owned user. Pure. */
import type { AccountStatus } from '#shared/contract.ts'
import { type AccountRef, accountName, isRewalk, type LaneState, stateName } from '../base/model.ts'
import { nextPollMs, type Pace, slotOf } from '../base/slot.ts'
import type { AccountEntry } from '../kv/accounts.ts'
import type { RelayStatus } from '../outbox/deps.ts'
import { AccountState } from '../sync/account-state.ts'
import { accountStatus, errorText, isQuiet, type StatusInput } from '../sync/status.ts'

export type StatusContext = Omit<StatusInput, 'provider' | 'inboxId' | 'state' | 'outbox' | 'slot'> & {
  outbox: RelayStatus
}

type StateOf = (account: AccountRef) => AccountState | undefined

/** When the first of the user's mailboxes is to be polled again, epoch ms; null when one of them was not polled yet. */
export function nextDueMs(
  entries: readonly AccountEntry[],
  stateOf: StateOf,
  polled: (account: AccountRef, lane: string) => boolean,
  pace: Pace,
): number | null {
  const due = entries.flatMap(({ account }) => {
    const state = stateOf(account)
    if (state === undefined) return []
    const polledMs = state.oldestPollMs((lane) => polled(account, lane))
    const schedule = { pace, slot: slotOf(account.userId), newsMs: state.newsMs }
    return [polledMs === null ? null : nextPollMs(polledMs, schedule)]
  })
  return due.length === 0 || due.includes(null) ? null : Math.min(...due.map(Number))
}

/** When each mailbox was polled last, epoch ms, by the name of its account; 0 = not known. */
export const pollsOf = (
  entries: readonly AccountEntry[],
  stateOf: StateOf,
  polled: (account: AccountRef, lane: string) => boolean,
): Map<string, number> =>
  new Map(
    entries.map(({ account }) => [
      accountName(account),
      stateOf(account)?.oldestPollMs((lane) => polled(account, lane)) ?? 0,
    ]),
  )

/** For the checkpoint, see `CheckpointRecord.newsMs`. Accounts without a worker are left out. */
export const newsOf = (entries: readonly AccountEntry[], stateOf: StateOf): Record<string, number> =>
  Object.fromEntries(
    entries.flatMap(({ account }) => {
      const state = stateOf(account)
      return state === undefined ? [] : [[stateName(account), state.newsMs]]
    }),
  )

/**
 * The lanes of the accounts by name, if they are as the database has them and nothing waits to be fetched: what a disk has
 * refused stands in memory alone. Accounts without a worker are left out. Null when that is not certain.
 */
export function lanesOf(entries: readonly AccountEntry[], stateOf: StateOf): Record<string, LaneState[]> | null {
  const found: Record<string, LaneState[]> = {}
  for (const { account } of entries) {
    const state = stateOf(account)
    if (state === undefined) continue
    if (state.lanes.size === 0 || state.queue.entries > 0 || state.faults.size > 0) return null
    found[stateName(account)] = [...state.lanes.values()].filter(({ lane }) => !isRewalk(lane))
  }
  return found
}

/** An account without a worker waits for the user, or for its first moment. */
function inputOf({ account }: AccountEntry, state: AccountState | undefined, context: StatusContext): StatusInput {
  return {
    provider: account.provider,
    inboxId: account.inboxId,
    slot: slotOf(account.userId),
    state: state ?? new AccountState(),
    ...context,
    outbox: { ...context.outbox, gapBefore: context.outbox.gaps[stateName(account)] ?? null },
  }
}

/** Nothing is left to do for the account, connected or not, but polls. */
export const isQuietAccount = (
  entry: AccountEntry,
  state: AccountState | undefined,
  context: StatusContext,
): boolean => {
  const { desired, reauth, revoke, owed } = entry.record
  if (revoke !== null || owed !== undefined) return false
  return desired !== 'connected' || (reauth === null && isQuiet(inputOf(entry, state, context)))
}

export function statusOf(entry: AccountEntry, state: AccountState | undefined, context: StatusContext): AccountStatus {
  const { record } = entry
  const base = accountStatus(inputOf(entry, state, context))
  const shown = { ...base, address: base.address ?? record.address }
  if (record.reauth === null) return shown
  const { code, at } = record.reauth
  return {
    ...shown,
    state: 'needs_reauth',
    last_error: { code, message: errorText(code), at, retry_at: null, count: 1 },
  }
}
