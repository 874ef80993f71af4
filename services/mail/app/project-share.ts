/** An instance's share of what a provider grants the whole project: it follows when others join or leave. */
import { parseLeaseKey } from '#shared/subjects.ts'
import type { LeaseLog } from '../kv/lease-log.ts'
import { instancesAtWork } from '../owner/share.ts'
import type { Providers } from './providers.ts'

type Parts = { leases: LeaseLog; providers: Pick<Providers, 'divideProject'>; instance: string }

/** Heartbeats keep it up to date. Who cannot see all the others keeps the share that it had. */
export function followProjectShare({ leases, providers, instance }: Parts): void {
  const divide = (): void => {
    if (leases.replica.fresh) providers.divideProject(instancesAtWork(leases.sessions.values(), instance))
  }
  leases.replica.listen((key) => {
    const parts = parseLeaseKey(key)
    if (parts !== null && 'sid' in parts) divide()
  })
  divide()
}
