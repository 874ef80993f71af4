/** Disconnecting at the provider: five tries within a minute, then the record forgets the grant. Never in a user's way. */
import type { Log } from '#shared/log.ts'
import type { AccountRef } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import type { Accounts } from '../kv/accounts.ts'

const TRIES = 5
const BETWEEN_MS = 12_000

export type RevocationDeps = {
  accounts: Accounts
  clock: Clock
  log: Log
  /** Opens the sealed grant and revokes it at the provider. */
  revoke(account: AccountRef, sealed: string, signal: AbortSignal): Promise<void>
}

/** Revokes `sealed` unless another connected account lives on the same grant's mailbox, then clears it from the record. */
export async function revokeGrantOf(
  account: AccountRef,
  sealed: string,
  deps: RevocationDeps,
  signal: AbortSignal,
): Promise<void> {
  const mailbox = (await deps.accounts.read(account))?.record.mailbox ?? null
  // Google revokes a whole grant: with it, everybody else's access to the same mailbox through this client.
  const needed = mailbox === null || deps.accounts.sharers(account.provider, mailbox) === 0
  for (let attempt = 1; needed && attempt <= TRIES; attempt++) {
    try {
      await deps.revoke(account, sealed, signal)
      break
    } catch (error) {
      signal.throwIfAborted()
      deps.log.warn({ err: error, attempt }, 'a grant could not be revoked yet')
      if (attempt === TRIES) deps.log.error('a grant was not revoked: the user should remove it at the provider')
      else await deps.clock.sleep(BETWEEN_MS, signal)
    }
  }
  await deps.accounts.change(account, (record) =>
    record === null || record.revoke !== sealed ? null : { ...record, revoke: null },
  )
}
