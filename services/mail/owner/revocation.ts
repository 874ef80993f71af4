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

/**
 * Revokes `sealed` unless another connected account lives on the same grant's mailbox, then clears it from the record.
 * The record is read before every try: a grant that was connected again meanwhile is left alone.
 * @throws the signal's reason
 */
export async function revokeGrantOf(
  account: AccountRef,
  sealed: string,
  deps: RevocationDeps,
  signal: AbortSignal,
): Promise<void> {
  for (let failures = 0; ; await deps.clock.sleep(BETWEEN_MS, signal)) {
    try {
      const record = (await deps.accounts.read(account))?.record
      signal.throwIfAborted()
      if (record?.revoke !== sealed) return
      // Google revokes a whole grant: with it, everybody else's access to the same mailbox through this client.
      const needed = record.mailbox === null || deps.accounts.sharers(account.provider, record.mailbox) === 0
      if (needed && !(await revoked(account, sealed, deps, signal))) {
        failures += 1
        if (failures < TRIES) continue
        deps.log.error('a grant was not revoked: the user should remove it at the provider')
      }
      await deps.accounts.change(account, (now) => (now?.revoke === sealed ? { ...now, revoke: null } : null))
      return
    } catch (error) {
      signal.throwIfAborted()
      deps.log.warn({ err: error }, 'the record of a revocation cannot be read or written yet')
    }
  }
}

async function revoked(
  account: AccountRef,
  sealed: string,
  { revoke, log }: RevocationDeps,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await revoke(account, sealed, signal)
    return true
  } catch (error) {
    signal.throwIfAborted()
    log.warn({ err: error }, 'a grant could not be revoked yet')
    return false
  }
}
