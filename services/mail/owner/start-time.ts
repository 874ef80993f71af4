/**
 * When work for a user begins whose lease was just won. A mailbox in which nothing is left to do but polls waits for its
 * next poll: nobody notices, and those who notice are not kept waiting by the others when many users move at once.
 */
import type { AccountStatus } from '#shared/contract.ts'
import { nextSlotMs, slotOf } from '../base/slot.ts'
import type { Clock } from '../base/time.ts'
import type { AccountEntry, Accounts } from '../kv/accounts.ts'
import type { Checkpoints } from '../kv/checkpoint.ts'
import type { LeaseLog } from '../kv/lease-log.ts'

/** From the last poll to the end of a release at most, or to the last sign of life of an owner that dies. */
const SLACK_MS = 4_000

export type StartTimeDeps = {
  checkpoints: Pick<Checkpoints, 'read'>
  accounts: Pick<Accounts, 'ofUser'>
  clock: Clock
  intervalMs: number
  silenceMs: number
}

/**
 * How the term before has ended. `cut off` = on this very disk, or in a way that nobody has seen.
 * `silenceMs`: what who died was given, `polledMs`: when who released has last polled, if they have said so.
 */
export type End =
  | { how: 'released'; seenMonoMs: number; polledMs?: number | undefined }
  | { how: 'died'; seenMonoMs: number; silenceMs?: number | undefined }
  | { how: 'cut off' }

/** @param sid of the session that is about to own the user, on the instance of this name */
export function endBefore(userId: string, { sid, name }: { sid: string; name: string }, leases: LeaseLog): End {
  const lease = leases.leases.get(userId)
  if (lease === undefined) return { how: 'cut off' }
  const { owner } = lease.record
  if (owner === null || owner === sid)
    return { how: 'released', seenMonoMs: lease.seenMonoMs, polledMs: lease.record.polled_ms }
  const session = leases.sessions.get(owner)
  // A process that ended on this disk in the middle of its work may have left events in it.
  if (session === undefined || lease.record.name === name) return { how: 'cut off' }
  return { how: 'died', seenMonoMs: session.changedMonoMs, silenceMs: session.record.silence_ms }
}

/** @returns how long the user may rest, ms, 0 = not at all; and what was last known of it. */
export async function startTime(
  userId: string,
  end: End,
  { checkpoints, accounts, clock, intervalMs, silenceMs }: StartTimeDeps,
): Promise<{ restMs: number; known: AccountStatus[] }> {
  const known = (await checkpoints.read(userId))?.record.accounts ?? []
  const rests = accounts.ofUser(userId).every((entry) => isQuiet(entry, known))
  if (!rests || end.how === 'cut off') return { restMs: 0, known }
  const nowMs = clock.wallMs()
  // A poll that came due while nobody worked for the user is made up for.
  const polledMs = Math.min(nowMs, lastPollMs(end, nowMs, { clock, silenceMs }))
  return { restMs: Math.max(0, nextSlotMs(polledMs, intervalMs, slotOf(userId)) - nowMs), known }
}

/** Since when at the latest nobody has polled the user, epoch ms. */
function lastPollMs(
  end: Exclude<End, { how: 'cut off' }>,
  nowMs: number,
  { clock, silenceMs }: Pick<StartTimeDeps, 'clock' | 'silenceMs'>,
): number {
  const seenMs = nowMs - (clock.monoMs() - end.seenMonoMs)
  if (end.how === 'died') return seenMs - (end.silenceMs ?? silenceMs) - SLACK_MS
  return end.polledMs ?? seenMs - SLACK_MS
}

/** Nothing to do for the account but to poll it, as far as its last owner has said. */
function isQuiet({ account, record }: AccountEntry, known: readonly AccountStatus[]): boolean {
  if (record.revoke !== null || record.unverified === true) return false
  if (record.desired !== 'connected') return true
  const last = known.find((status) => status.provider === account.provider && status.inbox_id === account.inboxId)
  return last?.state === 'live' && !last.refill && last.outbox.pending === 0
}
