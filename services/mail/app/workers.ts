/** Builds the worker of a connected account out of the parts: its provider, its quota, and how it writes to its record. */
import type { AccountErrorCode } from '#shared/errors.ts'
import type { Log } from '#shared/log.ts'
import type { Secret } from '#shared/secret.ts'
import { trailRecord } from '#shared/trail.ts'
import type { Config } from '../base/config.ts'
import { type AccountRef, type Epoch, type LaneState, type ProviderName, toSeconds } from '../base/model.ts'
import { slotOf } from '../base/slot.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Clock } from '../base/time.ts'
import { owing, RevisionConflict } from '../kv/account-record.ts'
import type { AccountEntry, Accounts } from '../kv/accounts.ts'
import type { Claims } from '../kv/claims.ts'
import type { Relay } from '../outbox/relay.ts'
import type { UserStore } from '../store/user-store.ts'
import { type IdlePoll, type IdlePollDeps, idlePoll } from '../sync/idle-poll.ts'
import { Worker } from '../sync/worker.ts'
import type { WorkerDeps } from '../sync/worker-deps.ts'
import type { TokenProvider } from '../token/tokens.ts'
import type { Providers } from './providers.ts'
import type { Controls } from './relay.ts'

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
  relay: Pick<Relay, 'audit'>
  controls: Pick<Controls, 'auditCompares'>
  /** Name of this instance. */
  instance: string
}

/** How accounts are polled at rest, from their lanes; null = not at all. */
export function createIdlePolls({
  providers,
  tokens,
  accounts,
  clock,
}: Pick<WorkerParts, 'providers' | 'tokens' | 'accounts' | 'clock'>) {
  const opened = async (account: AccountRef, signal: AbortSignal): Promise<Secret> => {
    const found = await tokens.openedToken(account, accounts.credentialOf(account))
    return found ?? (await tokens.accessToken(account, {}, signal))
  }
  const depsOf = (name: ProviderName): IdlePollDeps => ({
    provider: providers.byName[name],
    clock,
    limiter: (account) =>
      providers.pollLimiter({ account, mailbox: () => accounts.mailboxOf(account) }, () =>
        sharersOf(accounts, account),
      ),
    token: (account, signal) => tokens.heldToken(account) ?? opened(account, signal),
  })
  const deps = { google: depsOf('google'), microsoft: depsOf('microsoft') }
  return (account: AccountRef, lanes: readonly LaneState[]): IdlePoll | null =>
    idlePoll(account, lanes, deps[account.provider])
}

type Hooks = Pick<WorkerDeps, 'owns' | 'committed' | 'idled'>

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
    pace: config.pace,
    slot: slotOf(account.userId),
    ...hooks,
    sharers: () => sharersOf(accounts, account),
    bind: (identity, accessToken) => bind(parts, account, identity, accessToken),
    bound: { mailbox: record.unverified === true ? null : record.mailbox, address: record.address },
    refused: (accessToken) => parts.tokens.noteRefused(account, accessToken),
    reauth: (code) => markReauth(parts, account, code),
    auditSubject: (of, cursor, signal) => parts.relay.audit(of, cursor, signal),
    projectThrottled: (delayMs) => providers.pauseProject(account.provider, delayMs),
    random: Math.random,
    ...(parts.controls.auditCompares === undefined ? {} : { auditCompares: false }),
  })
}

function sharersOf(accounts: Accounts, account: AccountRef): number {
  const mailbox = accounts.mailboxOf(account)
  return mailbox === null ? 1 : Math.max(1, accounts.sharers(account.provider, mailbox))
}

/**
 * False when the inbox is bound to another mailbox, or the mailbox to another inbox of this user.
 * @throws RevisionConflict when the account has another credential by now than the one that opened the mailbox
 */
async function bind(
  { accounts, claims, tokens }: Pick<WorkerParts, 'accounts' | 'claims' | 'tokens'>,
  account: AccountRef,
  identity: { mailbox: string; address: string | null },
  accessToken: Secret,
): Promise<boolean> {
  const sealed = (await accounts.read(account))?.record.credential ?? null
  if (sealed === null || !(await tokens.opens(account, sealed, accessToken))) throw replaced(tokens, account)
  if (hasOtherInbox(accounts, account, identity.mailbox)) return false
  if ((await claims.claim(account, identity.mailbox)) !== account.inboxId) return false
  const written = await accounts.change(account, (record) => {
    if (record?.credential !== sealed) throw replaced(tokens, account)
    if ((record.mailbox ?? identity.mailbox) !== identity.mailbox) return null
    if (record.mailbox !== null && record.unverified !== true) return null
    const { unverified: _verified, ...rest } = record
    return { ...rest, mailbox: identity.mailbox, address: identity.address ?? record.address }
  })
  return written?.record.mailbox === identity.mailbox
}

const hasOtherInbox = (accounts: Accounts, account: AccountRef, mailbox: string): boolean =>
  accounts
    .ofUser(account.userId)
    .some(
      (entry) =>
        entry.account.provider === account.provider &&
        !isSame(entry.account, account) &&
        entry.record.desired === 'connected' &&
        entry.record.mailbox === mailbox,
    )

/** The user has signed in again: the next request reads what stands there now. */
function replaced(tokens: TokenProvider, account: AccountRef): RevisionConflict {
  tokens.invalidate(account)
  return new RevisionConflict('the account has another credential by now')
}

/**
 * The user must sign in again: written where every instance and every status sees it, onto the credential that failed.
 * @throws RevisionConflict when another one stands there: the worker goes on with that.
 */
async function markReauth(
  { accounts, tokens, clock, instance }: Pick<WorkerParts, 'accounts' | 'tokens' | 'clock' | 'instance'>,
  account: AccountRef,
  code: AccountErrorCode,
): Promise<void> {
  const sealed = (await accounts.read(account))?.record.credential ?? null
  if (sealed === null) return
  if (!(await tokens.isRefused(account, sealed))) throw replaced(tokens, account)
  const facts = { by: 'instance', requestId: null, action: 'refresh_failed', outcome: code } as const
  const failed = trailRecord({ ...account, ...facts, instance, atS: toSeconds(clock.wallMs()) })
  await accounts.change(account, (record) => {
    if (record === null || record.credential === null) return null
    if (record.credential !== sealed) throw replaced(tokens, account)
    return { ...record, reauth: { code, at: failed.at }, ...owing(record, failed) }
  })
}

const isSame = (a: AccountRef, b: AccountRef): boolean =>
  a.userId === b.userId && a.provider === b.provider && a.inboxId === b.inboxId
