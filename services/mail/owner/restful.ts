/** When nobody has to work for a user any more: polls from the last checkpoint are all there is to do, and have been for a while. */
import type { AccountRef, LaneState } from '../base/model.ts'
import type { AccountEntry } from '../kv/accounts.ts'
import type { AccountState } from '../sync/account-state.ts'
import type { IdlePoll } from '../sync/idle-poll.ts'

/** To begin again costs as much as many polls: only after so long without news, ms. */
export const REST_AFTER_MS = 600_000

type Facts = {
  entries: readonly AccountEntry[]
  stateOf(account: AccountRef): AccountState | undefined
  idlePoll(account: AccountRef, lanes: readonly LaneState[]): IdlePoll | null
  /** Since when nothing must have happened, epoch ms. */
  sinceMs: number
}

/** Each connected mailbox was quiet for so long, and can be polled without a worker. */
export function areRestful({ entries, stateOf, idlePoll, sinceMs }: Facts): boolean {
  const connected = entries.filter(({ record }) => record.desired === 'connected')
  const isRestful = ({ account }: AccountEntry): boolean => {
    const state = stateOf(account)
    return state !== undefined && state.newsMs <= sinceMs && idlePoll(account, [...state.lanes.values()]) !== null
  }
  return connected.length > 0 && connected.every(isRestful)
}
