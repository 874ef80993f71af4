/**
 * The lease of a user, won and returned by compare-and-set, and what a refusal says of the bucket: revisions of a key only
 * grow, so one that fell, or an epoch that is not above those given before, means that the bucket went backwards.
 */
import { compareEpochs, type Epoch } from '../base/model.ts'
import { type Revised, RevisionConflict } from '../kv/account-record.ts'
import type { LeaseLog } from '../kv/lease-log.ts'
import type { LeaseRecord } from '../kv/lease-records.ts'
import type { StaleEpochError } from '../store/user-store.ts'

/**
 * @returns the epoch under which the session owns the user, and the lease before.
 * @throws RevisionConflict when another writer was first.
 */
export async function winLease(
  userId: string,
  { sid, name }: { sid: string; name: string },
  leases: LeaseLog,
): Promise<{ epoch: Epoch; before: LeaseRecord | null }> {
  const { era } = leases
  const before = leases.leases.get(userId) ?? (await leases.readLease(userId))
  try {
    const record: LeaseRecord = { v: 1, kind: 'lease', owner: sid, name }
    const rev = await leases.writeLease(userId, record, before?.revision ?? null)
    return { epoch: { era, rev }, before: before?.record ?? null }
  } catch (error) {
    if (error instanceof RevisionConflict && before !== null) await believeLeader(userId, before, leases)
    throw error
  }
}

/** To nobody; whoever holds a later lease keeps it. */
export async function returnLease(userId: string, epoch: Epoch, leases: LeaseLog): Promise<void> {
  if (leases.era !== epoch.era) return
  try {
    await leases.writeLease(userId, { v: 1, kind: 'lease', owner: null }, epoch.rev)
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
