/** What this instance says of itself at `mail.fleet`, out of the parts that know it. */
import { FLEET_SESSIONS_MAX, type FleetReply } from '#shared/fleet.ts'
import packageJson from '../../../package.json' with { type: 'json' }
import type { LoopLag } from '../base/loop-lag.ts'
import type { LeaseLog } from '../kv/lease-log.ts'
import type { Supervisor } from '../owner/supervisor.ts'
import { levelsOf, type Work } from './ownership.ts'

export type FleetParts = Pick<Work, 'instance' | 'directoryId' | 'clock' | 'leases' | 'telemetry'> & {
  supervisor: Supervisor
  lag: LoopLag
  commit: string
}

type Sessions = Pick<FleetReply, 'sessions' | 'sessions_left_out'>

/** Uptime counts from this call. */
export function fleetView(parts: FleetParts): () => Promise<FleetReply> {
  const { instance, directoryId, clock, telemetry, supervisor, lag, commit } = parts
  const { session } = supervisor
  const startedMs = clock.monoMs()
  return async () => {
    const { accounts, outboxPending, users } = levelsOf(supervisor)
    return {
      instance,
      sid: session.sid === '' ? null : session.sid,
      state: session.state,
      disk_fault: session.full,
      blind: session.blind,
      address: session.address,
      directory: directoryId,
      version: packageJson.version,
      commit,
      node: process.versions.node,
      uptime_s: Math.floor((clock.monoMs() - startedMs) / 1000),
      users,
      accounts,
      outbox_pending: outboxPending,
      ...(await telemetry.figures()),
      event_loop_lag_ms: lag.figures(),
      ...sessionsOf(parts),
    }
  }
}

/** sids are UUIDv7: the newest is the greatest. */
export function sessionsOf({
  leases,
  clock,
}: Pick<FleetParts, 'clock'> & { leases: Pick<LeaseLog, 'sessions'> }): Sessions {
  const newest = [...leases.sessions.values()].toSorted((a, b) => (a.sid < b.sid ? 1 : -1)).slice(0, FLEET_SESSIONS_MAX)
  return {
    sessions: newest.map(({ sid, record, changedMonoMs }) => ({
      sid,
      instance: record.name,
      state: record.state,
      silent_ms: Math.max(0, Math.round(clock.monoMs() - changedMonoMs)),
    })),
    sessions_left_out: leases.sessions.size - newest.length,
  }
}
