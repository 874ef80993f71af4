/** status: the owner's view where it can be had within a second, else the last checkpoint with `live: false`. */
import * as v from 'valibot'
import { AccountStatus } from '#shared/contract.ts'
import { ACCOUNT_ERRORS } from '#shared/errors.ts'
import type { Log } from '#shared/log.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { atSubject } from '#shared/subjects.ts'
import { encodeUser } from '#shared/user-token.ts'
import { type AccountRef, accountName, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import type { AccountEntry, Accounts } from '../kv/accounts.ts'
import type { StatusSeen } from './calls.ts'
import type { ControlPorts } from './ports.ts'

const OWNER_TIMEOUT_MS = 1_000
const POLLS_MISSED_MAX = 3
const OwnerReply = v.object({ accounts: v.nullable(v.array(AccountStatus)) })
export type OwnerReply = v.InferOutput<typeof OwnerReply>

export type StatusDeps = {
  nc: NatsConnection
  accounts: Accounts
  ports: ControlPorts
  log: Log
  clock: Clock
  intervalMs: number
}

export async function status(userId: string, deps: StatusDeps): Promise<StatusSeen> {
  const isConnected = ({ record }: AccountEntry): boolean =>
    record.desired === 'connected' && !deps.accounts.isToErase(userId)
  const connected = deps.accounts.ofUser(userId).filter(isConnected)
  const own = connected.length === 0 ? null : await deps.ports.ownStatus(userId)
  const known = connected.length === 0 ? [] : (own ?? (await statuses(userId, deps)))
  const accounts = connected.map((entry) =>
    withRecord(entry, known.find((status) => isOf(status, entry.account)) ?? notSeenYet(entry)),
  )
  const reply = {
    user_id: userId,
    running_syncs: accounts
      .filter(({ state }) => state !== 'needs_reauth' && state !== 'paused')
      .map((status) => accountName({ userId, provider: status.provider, inboxId: status.inbox_id })),
    accounts,
  }
  return { reply, isOwn: own !== null }
}

/** What this instance knows as the owner; answers `mail.at.<address>.status` of the others. */
export const ownerReply = async (userId: string, ports: ControlPorts): Promise<OwnerReply> => ({
  accounts: await ports.ownStatus(userId),
})

async function statuses(userId: string, deps: StatusDeps): Promise<AccountStatus[]> {
  return (await askOwner(userId, deps)) ?? (await lastStatuses(userId, deps))
}

/** The checkpoint's word, but for `live`: nobody has looked for so long that it is not known to be true any more. */
async function lastStatuses(userId: string, { ports, clock, intervalMs }: StatusDeps): Promise<AccountStatus[]> {
  const nowS = toSeconds(clock.wallMs())
  const staleS = Math.ceil((POLLS_MISSED_MAX * intervalMs) / 1000) + 1
  return (await ports.lastStatus(userId)).map((status) => {
    const seenS = status.last_synced_at ?? 0
    if (status.state !== 'live' || nowS - seenS <= staleS) return status
    const fault = { code: 'NOT_OWNED', message: ACCOUNT_ERRORS.NOT_OWNED, at: nowS, retry_at: null, count: 1 }
    return { ...status, state: 'retrying', last_error: fault }
  })
}

async function askOwner(userId: string, { nc, ports, log }: StatusDeps): Promise<AccountStatus[] | null> {
  const address = ports.otherOwner(userId)
  if (address === null) return null
  try {
    const answer = await nc.request(atSubject(address, 'status'), encodeUser(userId), { timeout: OWNER_TIMEOUT_MS })
    const reply = v.safeParse(OwnerReply, answer.json())
    return reply.success ? reply.output.accounts : null
  } catch (error) {
    log.debug({ err: error }, 'the owner does not answer; answering from the checkpoint')
    return null
  }
}

const isOf = (status: AccountStatus, account: AccountRef): boolean =>
  status.provider === account.provider && status.inbox_id === account.inboxId

/** The record knows before any checkpoint does that the user must sign in again; and a checkpoint has no address. */
const withRecord = ({ record }: AccountEntry, status: AccountStatus): AccountStatus => ({
  ...status,
  address: status.address ?? record.address,
  ...(record.reauth === null ? {} : { state: 'needs_reauth' as const }),
})

/** Connected a moment ago: nobody has worked on it yet. */
const notSeenYet = ({ account, record }: AccountEntry): AccountStatus => ({
  provider: account.provider,
  inbox_id: account.inboxId,
  address: record.address,
  state: 'connecting',
  progress: { done: 0, total_estimate: null, percent: null, rate_per_s: null, eta_s: null },
  last_synced_at: null,
  next_sync_at: null,
  outbox: { pending: 0, oldest_age_s: null },
  set_aside: 0,
  last_error: null,
  stream_reset: false,
  refill: false,
  gap_before: null,
  completeness: { provider_total: null, stored: 0, published: 0, proven_at: null },
  instance: null,
  live: false,
})
