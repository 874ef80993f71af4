/** disconnect: desired state in KV. The owner aborts the worker at the watch event, empties the outbox and revokes. Idempotent. */
import type { DisconnectReply, DisconnectRequest } from '#shared/contract.ts'
import { AppError } from '#shared/errors.ts'
import { toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { RevisionConflict } from '../kv/account-record.ts'
import type { Accounts } from '../kv/accounts.ts'

/** @throws AppError CONFLICT */
export async function disconnect(
  userId: string,
  request: DisconnectRequest,
  { accounts, clock }: { accounts: Accounts; clock: Clock },
): Promise<DisconnectReply> {
  try {
    await accounts.change({ userId, provider: request.provider, inboxId: request.inbox_id }, (current) =>
      current === null || current.desired === 'disconnected'
        ? null
        : {
            ...current,
            desired: 'disconnected',
            credential: null,
            revoke: current.credential ?? current.revoke,
            reauth: null,
            updated_at: toSeconds(clock.wallMs()),
          },
    )
  } catch (error) {
    if (error instanceof RevisionConflict) throw new AppError('CONFLICT', {}, { cause: error })
    throw error
  }
  return { message: 'mail sync stopped' }
}
