/**
 * The lease of a user, won and returned by compare-and-set, and what a refusal says of the bucket: revisions of a key only
 * grow, so one that fell, or an epoch that is not above those given before, means that the bucket went backwards.
 */
import type { Log } from '#shared/log.ts'
import { compareEpochs, type Epoch } from '../base/model.ts'
import { type Revised, RevisionConflict } from '../kv/account-record.ts'
import type { LeaseLog } from '../kv/lease-log.ts'
import type { LeaseRecord } from '../kv/lease-records.ts'
import { StaleEpochError } from '../store/user-store.ts'

type Holder = { sid: string; name: string }

/**
 * The epoch under which the session owns the user; who was handed the user has won already, unless a return of it is
 * still on its way.
 * @throws RevisionConflict when another writer was first.
 */
export async function winLease(userId: string, { sid, name }: Holder, leases: LeaseLog): Promise<Epoch> {
  const { era } = leases
  const handed = leases.leases.get(userId)
  const isHanded = handed?.record.owner === sid && handed.record.from !== undefined
  if (isHanded && !leases.mayFall(userId, handed.revision)) return { era, rev: handed.revision }
  const before = leases.leases.get(userId) ?? (await leases.readLease(userId))
  try {
    const record: LeaseRecord = { v: 1, kind: 'lease', owner: sid, name }
    return { era, rev: await leases.writeLease(userId, record, before?.revision ?? null) }
  } catch (error) {
    if (error instanceof RevisionConflict && before !== null) await believeLeader(userId, before, leases)
    throw error
  }
}

/** What the next owner is told of the user. */
export type Last = {
  /** When the user is to be polled next, epoch ms; null = not known. */
  dueMs: number | null
  /** Revision of the newest account record for which nothing was left to do but polls; null = there may be more to do. */
  quietAt: number | null
}
export const NOTHING_KNOWN: Last = { dueMs: null, quietAt: null }

export type Return = Last & {
  /** null = nobody. */
  to: Holder | null
  from: string
}

/** To the one given, or to nobody; whoever holds a later lease keeps it. */
export async function returnLease(userId: string, epoch: Epoch, back: Return, leases: LeaseLog): Promise<void> {
  if (leases.era !== epoch.era) return
  const { to, from, dueMs, quietAt } = back
  const handed = to === null ? { owner: null } : { owner: to.sid, name: to.name, from }
  const last = { ...(dueMs !== null && { due_ms: dueMs }), ...(quietAt !== null && { quiet_at: quietAt }) }
  try {
    await leases.writeLease(userId, { v: 1, kind: 'lease', ...handed, ...last }, epoch.rev)
  } catch (error) {
    if (!(error instanceof RevisionConflict)) throw error
  }
}

/** Another writer's news come through the watch; a lease that fell does not, so everything is looked at anew. */
async function believeLeader(userId: string, before: Revised<LeaseRecord>, leases: LeaseLog): Promise<void> {
  const found = await leases.readLease(userId)
  const fell = found === null || found.revision < before.revision
  // Unless the watch has begun anew meanwhile.
  if (fell && leases.replica.fresh && leases.leases.get(userId)?.revision === before.revision) leases.replica.renew()
}

/**
 * A store refused the epoch for a higher one. Either another owner was first, or this instance still has the lease. Then
 * its own epoch was of an era that is over, and the next one will do; or the higher epoch is from before the bucket went
 * backwards, and the era is raised above it.
 */
export async function outrank(userId: string, { mine, found }: StaleEpochError, leases: LeaseLog): Promise<void> {
  const lease = await leases.readLease(userId)
  if (lease?.revision !== mine.rev || found === null) return
  const era = await leases.lookUpEra()
  if (found.era > era || (mine.era === era && compareEpochs(found, mine) > 0)) await leases.raiseEra(found.era)
}

/** What the fault of an attempt at a user says, told or looked into; the user is tried again in any case. */
export async function learnFrom(
  userId: string,
  error: unknown,
  { leases, log }: { leases: LeaseLog; log: Log },
): Promise<void> {
  if (error instanceof StaleEpochError)
    await outrank(userId, error, leases).catch((fault) => log.debug({ err: fault }, 'the lease cannot be read'))
  if (error instanceof RevisionConflict || error instanceof StaleEpochError)
    log.debug({ err: error }, 'somebody else was first')
  else log.warn({ err: error }, 'take-over failed; it is tried again')
}
