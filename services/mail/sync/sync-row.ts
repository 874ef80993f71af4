/** The row of `provider_sync_state` for what a worker knows: the state's word in upper case, times in epoch seconds. Pure. */
import { toSeconds } from '../base/model.ts'
import type { SyncState } from '../store/sync-state.ts'
import type { AccountState } from './account-state.ts'
import { isComplete } from './audit.ts'
import { lastErrorOf } from './status.ts'

/** From so many faults in a row on the row says ERROR; sync goes on slowly all the same. */
const ERROR_RETRIES = 8

export function syncRow(state: AccountState, nowMs: number): SyncState {
  const { fault } = state
  const lastMs = state.lastSyncedMs()
  return {
    cursor: state.syncCursor,
    lastSyncedAt: lastMs === 0 ? null : toSeconds(lastMs),
    status: wordOf(state, nowMs),
    lastError: lastErrorOf(fault),
    retryCount: fault?.count ?? 0,
    updatedAt: toSeconds(nowMs),
  }
}

function wordOf(state: AccountState, nowMs: number): string {
  if (state.ended !== null) return state.ended.toUpperCase()
  if (state.throttledUntilMs > nowMs || state.fault?.code === 'SHARED_MAILBOX') return 'THROTTLED'
  if (state.fault !== null) return state.fault.count >= ERROR_RETRIES ? 'ERROR' : 'RETRYING'
  if (state.queue.setAside > 0) return 'RETRYING'
  return isComplete(state) ? 'LIVE' : 'BACKFILLING'
}
