/** The audits of a user's mailboxes: what their workers know of them. It begins them if it is asked to, and waits for none. */
import type { AccountAudit, AuditReply } from '#shared/audit.ts'
import type { AccountStatus } from '#shared/contract.ts'
import { type AccountRef, toSeconds } from '../base/model.ts'
import { NO_AUDIT } from '../store/audits.ts'
import { isAuditing, isWalked } from '../sync/audit.ts'
import { isStale } from '../sync/status.ts'
import type { Worker } from '../sync/worker.ts'

export type AuditDeps = {
  instance: string
  /** Of the connected accounts. */
  statuses: readonly AccountStatus[]
  /** The worker of an account, unless the user has to sign in again. */
  workerOf(account: AccountRef): Worker | undefined
}

/** @throws DiskError, StaleEpochError */
export function audit(userId: string, { start }: { start: boolean }, deps: AuditDeps): AuditReply {
  const accounts = deps.statuses.map((status) => {
    const worker = deps.workerOf({ userId, provider: status.provider, inboxId: status.inbox_id })
    if (start) worker?.audit()
    return auditOf(status, worker)
  })
  return { user_id: userId, instance: deps.instance, accounts }
}

function auditOf({ provider, inbox_id, completeness }: AccountStatus, worker: Worker | undefined): AccountAudit {
  const audit = worker?.state.audit ?? NO_AUDIT
  const { stored, published, proven_at } = completeness
  const { missing, extra, twice, absent, gone, passes, cost } = audit
  return {
    provider,
    inbox_id,
    state: stateOf(worker),
    started_at: timeOf(audit.startedMs),
    finished_at: timeOf(audit.finishedMs),
    provider_total: completeness.provider_total,
    stored,
    published,
    missing,
    extra,
    twice,
    absent,
    stale: isLate(worker),
    gone,
    passes,
    cost,
    proven_at,
    findings: audit.findings.map(({ what, eventId, seq }) => ({ what, event_id: eventId, sequence: seq })),
  }
}

function stateOf(worker: Worker | undefined): AccountAudit['state'] {
  if (worker === undefined || worker.state.ended !== null) return 'blocked'
  const { state } = worker
  if (!isWalked(state)) return 'walking'
  if (isAuditing(state)) return 'running'
  if (state.audit.startedMs === null) return 'never'
  return state.audit.finishedMs === null ? 'interrupted' : 'done'
}

/** Nobody polls a mailbox that cannot be asked. */
function isLate(worker: Worker | undefined): boolean {
  if (worker === undefined || worker.state.ended !== null) return true
  const { clock, pace, provider } = worker.deps
  return isStale({
    state: worker.state,
    polled: (lane) => provider.polled(lane),
    nowMs: clock.wallMs(),
    pace,
  })
}

const timeOf = (ms: number | null): number | null => (ms === null ? null : toSeconds(ms))
