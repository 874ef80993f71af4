/** erase: the wish that nothing is left of a user, in KV. The owner of the user does it. Idempotent. */
import type { Erasure } from '#shared/erase.ts'
import { AppError } from '#shared/errors.ts'
import type { TrailRecord } from '#shared/trail.ts'
import { uuidV7 } from '#shared/uuid.ts'
import { type AccountRef, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { RevisionConflict } from '../kv/account-record.ts'
import type { Accounts } from '../kv/accounts.ts'

export type EraseDeps = { accounts: Accounts; clock: Clock }

/**
 * Asking again is a look: it changes nothing, and has no record.
 * @param record of the call that begins it: the wish owes it to the audit trail, as the receipt
 * @throws AppError CONFLICT
 */
export async function erase(userId: string, { accounts, clock }: EraseDeps, record: TrailRecord): Promise<Erasure> {
  const found = await accounts.readErasure(userId)
  const isRunning = found?.record.erase === 'asked'
  // Who has connected again has records.
  const isDone = found?.record.erase === 'done' && (await accounts.list(userId)).length === 0
  if (found !== null && (isRunning || isDone)) {
    const { at, receipt: first } = found.record
    return { state: isRunning ? 'running' : 'done', at, receipt: first.id }
  }
  const at = toSeconds(clock.wallMs())
  // When the wish is written and its answer is lost, the call has a record that says so: it must not pass for the receipt.
  const receipt = { ...record, id: uuidV7() }
  try {
    await accounts.writeErasure(userId, { v: 1, erase: 'asked', receipt, at }, found?.revision ?? null)
  } catch (error) {
    if (error instanceof RevisionConflict) throw new AppError('CONFLICT', {}, { cause: error })
    throw error
  }
  return { state: 'running', at, receipt: receipt.id }
}

/** All of a user is erased at once, and whoever names one mailbox means no other. @throws AppError OTHER_MAILBOXES_CONNECTED */
export async function refuseOthers({ userId, provider, inboxId }: AccountRef, accounts: Accounts): Promise<void> {
  const connected = (await accounts.list(userId)).filter(({ record }) => record.desired === 'connected')
  const others = connected.filter(({ account }) => account.provider !== provider || account.inboxId !== inboxId)
  if (others.length === 0) return
  const mailboxes = others.map(({ account }) => ({ provider: account.provider, inbox_id: account.inboxId }))
  throw new AppError('OTHER_MAILBOXES_CONNECTED', { mailboxes })
}

/** Who connects while all of the user is being erased would lose some of it. @throws AppError CONFLICT */
export async function refuseErasing(userId: string, accounts: Accounts): Promise<void> {
  if ((await accounts.readErasure(userId))?.record.erase === 'asked')
    throw new AppError('CONFLICT', { reason: 'the user is being erased: connect again when that is done' })
}
