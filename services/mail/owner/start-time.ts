/**
 * When work for a user begins whose lease was just won. A mailbox in which nothing is left to do but polls waits for its
 * next poll: nobody notices, and those who notice are not kept waiting by the others when many users move at once.
 */
import type { AccountStatus } from '#shared/contract.ts'
import { nextSlotMs, slotOf } from '../base/slot.ts'
import type { Clock } from '../base/time.ts'
import type { AccountEntry, Accounts } from '../kv/accounts.ts'
import type { Checkpoints } from '../kv/checkpoint.ts'
import type { LeaseRecord } from '../kv/lease-records.ts'

/** From the last poll to the end of a release at most, or to the last sign of life of an owner that dies. */
const RELEASE_MS = 4_000

export type StartTimeDeps = {
  checkpoints: Pick<Checkpoints, 'read'>
  accounts: Pick<Accounts, 'ofUser'>
  clock: Clock
  /** Name of this instance. */
  instance: string
  intervalMs: number
  silenceMs: number
}

/**
 * @param before the lease before
 * @param aloneMs how long ago it was seen that nobody worked for the user any more; null when that was not seen
 * @returns how long the user may rest, ms, 0 = not at all; and what was last known of it.
 */
export async function startTime(
  userId: string,
  before: LeaseRecord | null,
  aloneMs: number | null,
  { checkpoints, accounts, clock, instance, intervalMs, silenceMs }: StartTimeDeps,
): Promise<{ restMs: number; known: AccountStatus[] }> {
  // A process that ended on this disk in the middle of its work may have left events in it.
  const wasCutOff = before !== null && before.owner !== null && before.name === instance
  const known = wasCutOff ? [] : ((await checkpoints.read(userId))?.record.accounts ?? [])
  const rests = accounts.ofUser(userId).every((entry) => isQuiet(entry, known))
  if (!rests || before === null || aloneMs === null) return { restMs: 0, known }
  const nowMs = clock.wallMs()
  // A poll that came due while nobody worked for the user is made up for.
  const unpolledMs = aloneMs + (before.owner === null ? RELEASE_MS : silenceMs + RELEASE_MS)
  return { restMs: Math.max(0, nextSlotMs(nowMs - unpolledMs, intervalMs, slotOf(userId)) - nowMs), known }
}

/** Nothing to do for the account but to poll it, as far as its last owner has said. */
function isQuiet({ account, record }: AccountEntry, known: readonly AccountStatus[]): boolean {
  if (record.revoke !== null || record.unverified === true) return false
  if (record.desired !== 'connected') return true
  const last = known.find((status) => status.provider === account.provider && status.inbox_id === account.inboxId)
  return last?.state === 'live' && !last.refill && last.outbox.pending === 0
}
