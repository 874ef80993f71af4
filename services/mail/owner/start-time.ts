/**
 * When work for a user begins whose lease was just won. A mailbox in which nothing is left to do but polls waits for its
 * next poll: nobody notices, and those who notice are not kept waiting by the others when many users move at once.
 */
import type { AccountState, AccountStatus } from '#shared/contract.ts'
import { longestIntervalMs, nextPollMs, type Pace, slotOf } from '../base/slot.ts'
import type { Clock } from '../base/time.ts'
import type { AccountRecord } from '../kv/account-record.ts'
import type { AccountEntry, Accounts } from '../kv/accounts.ts'
import type { CheckpointRecord, Checkpoints } from '../kv/checkpoint.ts'
import type { LeaseLog } from '../kv/lease-log.ts'
import { lastNewsMs } from './checkpoint-record.ts'

/** One for nearly all users. */
const LIVE: readonly AccountState[] = ['live']
/** From the last poll to the end of a release at most, or to the last sign of life of an owner that dies. */
const SLACK_MS = 4_000

export type StartTimeDeps = {
  checkpoints: Pick<Checkpoints, 'read'>
  accounts: Pick<Accounts, 'ofUser' | 'isToErase'>
  clock: Clock
  pace: Pace
  silenceMs: number
}

/**
 * How the term before has ended. `cut off` = on this very disk, or in a way that nobody has seen.
 * `silenceMs`: what who died was given; `dueMs` and `quietAt`: what who released has said, see `Last`.
 */
export type End =
  | { how: 'released'; seenMonoMs: number; dueMs?: number | undefined; quietAt?: number | undefined }
  | { how: 'died'; seenMonoMs: number; silenceMs?: number | undefined }
  | { how: 'cut off' }

/** @param sid of the session that is about to own the user, on the instance of this name */
export function endBefore(userId: string, { sid, name }: { sid: string; name: string }, leases: LeaseLog): End {
  const lease = leases.leases.get(userId)
  if (lease === undefined) return { how: 'cut off' }
  const { owner, due_ms: dueMs, quiet_at: quietAt } = lease.record
  if (owner === null || owner === sid) return { how: 'released', seenMonoMs: lease.seenMonoMs, dueMs, quietAt }
  const session = leases.sessions.get(owner)
  // A process that ended on this disk in the middle of its work may have left events in it.
  if (session === undefined || lease.record.name === name) return { how: 'cut off' }
  return { how: 'died', seenMonoMs: session.changedMonoMs, silenceMs: session.record.silence_ms }
}

/**
 * When work for the user is to begin, epoch ms, past or future; how long it may rest until then, ms, 0 = not at all; whether
 * that work is a poll; and the states of its accounts as they were last known.
 */
export type StartTime = { dueMs: number; restMs: number; isQuiet: boolean; known: readonly AccountState[] }

/**
 * When whoever released the user has told all there is to know; null = it must be looked up. What it knew of the accounts
 * must be what is known of them here.
 */
export function toldStartTime(userId: string, end: End, deps: StartTimeDeps): StartTime | null {
  if (end.how !== 'released' || end.dueMs === undefined || end.quietAt === undefined) return null
  const entries = deps.accounts.ofUser(userId)
  if (deps.accounts.isToErase(userId)) return null
  const isKnown = entries.every(({ record, revision }) => revision <= Number(end.quietAt) && !isAsked(record))
  if (!isKnown || !entries.some(({ revision }) => revision === end.quietAt)) return null
  const connected = entries.filter(({ record }) => record.desired === 'connected')
  return { ...startAt(end.dueMs, deps), known: connected.length === 1 ? LIVE : connected.map(() => 'live') }
}

/** After a look at what the owner before has written last. */
export async function startTime(userId: string, end: End, deps: StartTimeDeps): Promise<StartTime> {
  const record = (await deps.checkpoints.read(userId))?.record
  const last = record?.accounts ?? []
  const known = last.map(({ state }) => state)
  const rests = !deps.accounts.isToErase(userId) && deps.accounts.ofUser(userId).every((entry) => isQuiet(entry, last))
  if (rests && end.how !== 'cut off' && !isLeft(end))
    return { ...startAt(guessedDueMs(userId, end, record, deps), deps), known }
  return { dueMs: deps.clock.wallMs(), restMs: 0, isQuiet: false, known }
}

/** Whoever worked for the user until its release knew of more to do than polls: the checkpoint may be of before that. */
const isLeft = (end: Seen): boolean => end.how === 'released' && end.dueMs !== undefined && end.quietAt === undefined

/**
 * A poll that came due while nobody worked for the user is made up for at once. What another clock has said is not waited for
 * longer than any mailbox is.
 */
function startAt(saidMs: number, deps: StartTimeDeps): Omit<StartTime, 'known'> {
  const nowMs = deps.clock.wallMs()
  const dueMs = Math.min(saidMs, nowMs + longestIntervalMs(deps.pace))
  return { dueMs, restMs: Math.max(0, dueMs - nowMs), isQuiet: true }
}

type Seen = Exclude<End, { how: 'cut off' }>

/** When the owner before would have polled the first of the user's mailboxes, as far as can be told from here. */
function guessedDueMs(
  userId: string,
  end: Seen,
  checkpoint: CheckpointRecord | undefined,
  deps: StartTimeDeps,
): number {
  if (end.how === 'released' && end.dueMs !== undefined) return end.dueMs
  const polledMs = lastPollMs(end, deps)
  const slot = slotOf(userId)
  const connected = deps.accounts.ofUser(userId).filter(({ record }) => record.desired === 'connected')
  const due = connected.map((entry) =>
    nextPollMs(polledMs, { pace: deps.pace, slot, newsMs: lastNewsMs(checkpoint, entry) }),
  )
  return Math.min(...due)
}

/** Since when at the latest nobody has polled the user, epoch ms. */
function lastPollMs(end: Seen, { clock, silenceMs }: Pick<StartTimeDeps, 'clock' | 'silenceMs'>): number {
  const seenMs = clock.wallMs() - (clock.monoMs() - end.seenMonoMs)
  return seenMs - (end.how === 'died' ? (end.silenceMs ?? silenceMs) : 0) - SLACK_MS
}

/** Nothing to do for the account but to poll it, as far as its last owner has said. */
export function isQuiet({ account, record }: AccountEntry, known: readonly AccountStatus[]): boolean {
  if (isAsked(record)) return false
  if (record.desired !== 'connected') return true
  const last = known.find((status) => status.provider === account.provider && status.inbox_id === account.inboxId)
  return last?.state === 'live' && !last.refill && last.outbox.pending === 0
}

/** The record itself asks for more than polls. */
export const isAsked = ({ revoke, unverified, owed }: AccountRecord): boolean =>
  revoke !== null || unverified === true || owed !== undefined
