/** What this instance says of itself at `mail.fleet`, out of the parts that know it. */
import type { FleetReply, SeenSession } from '#shared/fleet.ts'
import packageJson from '../../../package.json' with { type: 'json' }
import type { LoopLag } from '../base/loop-lag.ts'
import type { Supervisor } from '../owner/supervisor.ts'
import { levelsOf, type Work } from './ownership.ts'

export type FleetParts = Pick<Work, 'instance' | 'directoryId' | 'clock' | 'leases' | 'telemetry'> & {
  supervisor: Supervisor
  lag: LoopLag
  commit: string
}

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
      sessions: sessionsOf(parts),
    }
  }
}

const sessionsOf = ({ leases, clock }: FleetParts): SeenSession[] =>
  [...leases.sessions.values()].map(({ sid, record, changedMonoMs }) => ({
    sid,
    instance: record.name,
    state: record.state,
    silent_ms: Math.max(0, Math.round(clock.monoMs() - changedMonoMs)),
  }))
