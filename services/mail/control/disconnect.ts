/** disconnect: desired state in KV. The owner aborts the worker at the watch event, empties the outbox and revokes. Idempotent. */
import type { DisconnectReply, DisconnectRequest } from '#shared/contract.ts'
import { AppError } from '#shared/errors.ts'
import type { TrailRecord } from '#shared/trail.ts'
import { type AccountRef, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { Wake } from '../base/wake.ts'
import { owing, RevisionConflict, withoutGrant } from '../kv/account-record.ts'
import type { Accounts } from '../kv/accounts.ts'
import { refuseUnaccounted } from './connect.ts'

/** How long the answer waits for the owner's revocation, well inside the client's deadline of 3 s. */
const REVOKED_WITHIN_MS = 1_500

export const STOPPED = 'mail sync stopped'

export type DisconnectDeps = { accounts: Accounts; clock: Clock }

/**
 * @param record of this call
 * @returns `isOwed`: the account's record owes it to the audit trail; it does not where nothing changed
 * @throws AppError CONFLICT
 */
export async function disconnect(
  userId: string,
  request: DisconnectRequest,
  deps: DisconnectDeps,
  signal: AbortSignal,
  record: TrailRecord,
): Promise<{ reply: DisconnectReply; isOwed: boolean }> {
  const { accounts, clock } = deps
  const account: AccountRef = { userId, provider: request.provider, inboxId: request.inbox_id }
  let isOwed = false
  try {
    await accounts.change(account, (current) => {
      isOwed = current !== null && current.desired === 'connected'
      if (current === null || !isOwed) return null
      refuseUnaccounted(current)
      return { ...withoutGrant(current, toSeconds(clock.wallMs())), ...owing(current, record) }
    })
  } catch (error) {
    if (error instanceof RevisionConflict) throw new AppError('CONFLICT', {}, { cause: error })
    throw error
  }
  await revoked(account, deps, signal)
  return { reply: { message: STOPPED }, isOwed }
}

/**
 * Google ends whole grants: who signs in again after the answer would lose the new grant to a revocation that is still
 * under way. A provider that cannot be reached does not hold up the answer; the owner goes on trying.
 */
async function revoked(account: AccountRef, { accounts, clock }: DisconnectDeps, signal: AbortSignal): Promise<void> {
  const changed = new Wake()
  const stop = accounts.replica.listen(() => changed.ring())
  const endsMs = clock.monoMs() + REVOKED_WITHIN_MS
  try {
    for (;;) {
      const leftMs = endsMs - clock.monoMs()
      if (leftMs <= 0 || signal.aborted || !accounts.isRevoking(account)) return
      await changed.rest(leftMs, clock, signal)
    }
  } finally {
    stop()
  }
}
