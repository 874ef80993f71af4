/** What the leases, as this instance has seen them, say of one user. */
import { compareEpochs, type Epoch } from '../base/model.ts'
import type { LeaseLog } from '../kv/lease-log.ts'

/** Absent, released, or of a session that is dead or gone: the snapshot is complete, so gone means gone. */
export function isFree(userId: string, sid: string, hasTenure: boolean, leases: LeaseLog): boolean {
  const owner = leases.ownerOf(userId)
  if (owner === null) return true
  // Own lease without a tenure: a take-over that failed and could not give it back.
  if (owner === sid) return !hasTenure
  return leases.living(owner) === null
}

/** The lease still carries this epoch. */
export function carries(userId: string, epoch: Epoch, leases: LeaseLog): boolean {
  const lease = leases.leases.get(userId)
  return lease !== undefined && compareEpochs({ era: leases.era, rev: lease.revision }, epoch) === 0
}

/** Another session has the lease, or it was won anew. */
export const isOvertaken = (userId: string, epoch: Epoch, sid: string, leases: LeaseLog): boolean =>
  leases.leases.get(userId)?.record.owner !== sid || !carries(userId, epoch, leases)

/** The epoch under which the session has the lease; null when it has not. */
export function epochOf(userId: string, sid: string, leases: LeaseLog): Epoch | null {
  const lease = leases.leases.get(userId)
  return lease?.record.owner === sid ? { era: leases.era, rev: lease.revision } : null
}

/** Address of the user's owner; null when nobody owns the user. */
export const addressOf = (userId: string, leases: LeaseLog): string | null =>
  leases.living(leases.ownerOf(userId))?.address ?? null
