/** connect: whose mailbox is it → may it be bound here → desired state and sealed credential in KV. Nothing else happens here. */
import type { ConnectReply, ConnectRequest } from '#shared/contract.ts'
import { AppError } from '#shared/errors.ts'
import { Secret } from '#shared/secret.ts'
import type { TrailRecord } from '#shared/trail.ts'
import { type AccountRef, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { type AccountRecord, OWED_MAX, owing, RevisionConflict } from '../kv/account-record.ts'
import type { Accounts } from '../kv/accounts.ts'
import type { Claims } from '../kv/claims.ts'
import { newPositionsKey } from '../kv/sealed-lanes.ts'
import { refuseErasing } from './erase.ts'
import type { ControlPorts, Identified } from './ports.ts'

/** All of a connect, well inside the client's deadline of 15 s. */
const DEADLINE_MS = 12_000

export type ConnectDeps = { accounts: Accounts; claims: Claims; ports: ControlPorts; clock: Clock }

/**
 * Replies when the record is durable. Connecting again replaces the credential and keeps every position.
 * @param record of this call, which the account's record owes to the audit trail
 * @throws AppError PROVIDER_NOT_CONFIGURED, CREDENTIAL_REFUSED, MAILBOX_MISMATCH, MAILBOX_ALREADY_CONNECTED, CONFLICT
 */
export async function connect(
  userId: string,
  request: ConnectRequest,
  { accounts, claims, ports, clock }: ConnectDeps,
  signal: AbortSignal,
  record: TrailRecord,
): Promise<ConnectReply> {
  const { provider } = request
  if (!ports.configured(provider)) throw new AppError('PROVIDER_NOT_CONFIGURED', { provider })
  const account: AccountRef = { userId, provider, inboxId: request.inbox_id }
  const identified = await ports.identify(
    account,
    accounts.mailboxOf(account),
    {
      accessToken: new Secret(request.access_token),
      refreshToken: new Secret(request.refresh_token),
      expiresAtS: toSeconds(clock.wallMs()) + request.expires_in,
    },
    AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]),
  )
  const credential = await ports.seal(account, identified.tokens)
  refuseSecondInbox(account, identified, accounts)
  await refuseErasing(userId, accounts)
  try {
    await claimMailbox(account, identified, claims)
    await accounts.change(account, (current) =>
      nextRecord(account, current, identified, { credential, nowS: toSeconds(clock.wallMs()), record }),
    )
  } catch (error) {
    if (error instanceof RevisionConflict) throw new AppError('CONFLICT', {}, { cause: error })
    throw error
  }
  return { message: 'mail sync started', provider, user_id: userId }
}

/** One mailbox twice under one user would put every mail twice on their subject. */
function refuseSecondInbox(account: AccountRef, { identity }: Identified, accounts: Accounts): void {
  if (identity === null) return
  const other = accounts
    .ofUser(account.userId)
    .find(
      (entry) =>
        entry.account.provider === account.provider &&
        entry.account.inboxId !== account.inboxId &&
        entry.record.desired === 'connected' &&
        entry.record.mailbox === identity.mailbox,
    )
  if (other !== undefined) throw new AppError('MAILBOX_ALREADY_CONNECTED', { inbox_id: other.account.inboxId })
}

/** The replica may not show yet what another request is writing at this moment; the claim does. */
async function claimMailbox(account: AccountRef, { identity }: Identified, claims: Claims): Promise<void> {
  if (identity === null) return
  const holder = await claims.claim(account, identity.mailbox)
  if (holder !== account.inboxId) throw new AppError('MAILBOX_ALREADY_CONNECTED', { inbox_id: holder })
}

/** @throws AppError TIMEOUT: the owner tells the audit trail what is owed as soon as NATS takes it */
export function refuseUnaccounted(current: AccountRecord | null): void {
  if ((current?.owed?.length ?? 0) >= OWED_MAX)
    throw new AppError('TIMEOUT', { reason: 'the audit trail takes no records' })
}

function nextRecord(
  account: AccountRef,
  current: AccountRecord | null,
  { identity }: Identified,
  { credential, nowS, record }: { credential: string; nowS: number; record: TrailRecord },
): AccountRecord {
  refuseUnaccounted(current)
  const bound = current?.mailbox ?? null
  if (bound !== null && identity !== null && bound !== identity.mailbox)
    throw new AppError('MAILBOX_MISMATCH', { inbox_id: account.inboxId })
  return {
    v: 1,
    desired: 'connected',
    mailbox: bound ?? identity?.mailbox ?? null,
    ...(bound !== null && identity === null ? { unverified: true } : {}),
    address: identity?.address ?? current?.address ?? null,
    positions_key: current?.positions_key ?? newPositionsKey(),
    credential,
    // A grant that is used again must not be revoked.
    revoke: null,
    reauth: null,
    ...owing(current, record),
    connected_at: nowS,
    updated_at: nowS,
  }
}
