/** Builds the worker of a connected account out of the parts: its provider, its quota, and how it writes to its record. */
import type { AccountErrorCode } from '#shared/errors.ts'
import type { Log } from '#shared/log.ts'
import type { Config } from '../base/config.ts'
import { type AccountRef, type Epoch, toSeconds } from '../base/model.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Clock } from '../base/time.ts'
import type { AccountEntry, Accounts } from '../kv/accounts.ts'
import type { Claims } from '../kv/claims.ts'
import type { UserStore } from '../store/user-store.ts'
import { Worker } from '../sync/worker.ts'
import type { TokenProvider } from '../token/tokens.ts'
import type { Providers } from './providers.ts'

export type WorkerParts = {
  config: Config
  providers: Providers
  tokens: TokenProvider
  store: UserStore
  accounts: Accounts
  claims: Claims
  clock: Clock
  log: Log
  telemetry: Telemetry
}

type Hooks = { owns(): boolean; committed(cursorOnly: boolean): void }

export function createWorker(
  parts: WorkerParts,
  { account, record }: AccountEntry,
  epoch: Epoch,
  hooks: Hooks,
): Worker {
  const { config, providers, accounts, clock } = parts
  // Whose mailbox it is has to be asked with the new credential, not with a token of the one before.
  if (record.unverified === true) parts.tokens.invalidate(account)
  return new Worker(account, epoch, {
    provider: providers.byName[account.provider],
    limiter: providers.limiter({ account, mailbox: () => accounts.mailboxOf(account) }),
    tokens: parts.tokens,
    store: parts.store,
    clock,
    log: parts.log,
    telemetry: parts.telemetry,
    intervalMs: config.syncIntervalMs,
    owns: hooks.owns,
    sharers: () => sharersOf(accounts, account),
    bind: (identity) => bind(accounts, parts.claims, account, identity),
    bound: { mailbox: record.unverified === true ? null : record.mailbox, address: record.address },
    refused: (accessToken) => parts.tokens.noteRefused(account, accessToken),
    reauth: (code) => markReauth(parts, account, code),
    committed: hooks.committed,
    projectThrottled: (delayMs) => providers.pauseProject(account.provider, delayMs),
    random: Math.random,
  })
}

function sharersOf(accounts: Accounts, account: AccountRef): number {
  const mailbox = accounts.mailboxOf(account)
  return mailbox === null ? 1 : Math.max(1, accounts.sharers(account.provider, mailbox))
}

/** False when the inbox is bound to another mailbox, or the mailbox to another inbox of this user. */
async function bind(
  accounts: Accounts,
  claims: Claims,
  account: AccountRef,
  identity: { mailbox: string; address: string | null },
): Promise<boolean> {
  const taken = accounts
    .ofUser(account.userId)
    .some(
      (entry) =>
        entry.account.provider === account.provider &&
        !isSame(entry.account, account) &&
        entry.record.desired === 'connected' &&
        entry.record.mailbox === identity.mailbox,
    )
  if (taken || (await claims.claim(account, identity.mailbox)) !== account.inboxId) return false
  const written = await accounts.change(account, (record) => {
    if (record === null || (record.mailbox ?? identity.mailbox) !== identity.mailbox) return null
    if (record.mailbox !== null && record.unverified !== true) return null
    const { unverified: _verified, ...rest } = record
    return { ...rest, mailbox: identity.mailbox, address: identity.address ?? record.address }
  })
  return written?.record.mailbox === identity.mailbox
}

/** The user has signed in again meanwhile: what failed is not what the account has now. */
class CredentialReplacedError extends Error {
  override readonly name = 'CredentialReplacedError'
  constructor() {
    super('the account has another credential by now')
  }
}

/**
 * The user must sign in again: written where every instance and every status sees it, onto the credential that failed.
 * @throws CredentialReplacedError when another one stands there: the worker goes on with that.
 */
async function markReauth(
  { accounts, tokens, clock }: Pick<WorkerParts, 'accounts' | 'tokens' | 'clock'>,
  account: AccountRef,
  code: AccountErrorCode,
): Promise<void> {
  const sealed = (await accounts.read(account))?.record.credential ?? null
  if (sealed === null) return
  const failed = await tokens.isRefused(account, sealed)
  let replaced = !failed
  if (failed)
    await accounts.change(account, (record) => {
      if (record === null || record.credential === null) return null
      replaced = record.credential !== sealed
      return replaced ? null : { ...record, reauth: { code, at: toSeconds(clock.wallMs()) } }
    })
  if (!replaced) return
  tokens.invalidate(account)
  throw new CredentialReplacedError()
}

const isSame = (a: AccountRef, b: AccountRef): boolean =>
  a.userId === b.userId && a.provider === b.provider && a.inboxId === b.inboxId
