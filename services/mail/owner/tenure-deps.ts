/** What supervisor and tenures are given. Types only. */
import type { Log } from '#shared/log.ts'
import type { AccountRef, Epoch } from '../base/model.ts'
import type { Pace } from '../base/slot.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Clock } from '../base/time.ts'
import type { AccountEntry, Accounts } from '../kv/accounts.ts'
import type { LeaseLog } from '../kv/lease-log.ts'
import type { Relay } from '../outbox/relay.ts'
import type { Snapshots } from '../outbox/snapshots.ts'
import type { Worker } from '../sync/worker.ts'
import type { WorkerDeps } from '../sync/worker-deps.ts'
import type { LeaseTimes } from './lease-times.ts'
import type { RestPollDeps } from './rest-poll.ts'
import type { SessionIdentity } from './session.ts'
import type { SettlementDeps } from './settlements.ts'
import type { StartTimeDeps } from './start-time.ts'
import type { Base, TakeoverDeps } from './takeover.ts'

export type TenureDeps = Omit<TakeoverDeps, 'readBack'> & SettlementDeps & RestPollDeps & OwnDeps
type OwnDeps = {
  snapshots: Pick<Snapshots, 'get' | 'put' | 'remove' | 'inTurn' | 'createdMs'>
  relay: Relay
  telemetry: Telemetry
  instance: string
  pace: Pace
  polled(account: AccountRef, lane: string): boolean
  /** Builds the worker of a connected account. */
  worker(entry: AccountEntry, epoch: Epoch, hooks: Pick<WorkerDeps, 'owns' | 'committed' | 'idled'>): Worker
  /** The user was taken over: the term has begun to work. */
  termBegan(userId: string, epoch: Epoch, base: Base): void
  earlyCheckpoint?: boolean
  /** `REST_AFTER_MS` unless given. */
  restAfterMs?: number
}

export type SupervisorDeps = {
  accounts: Accounts
  leases: LeaseLog
  times: LeaseTimes
  identity: SessionIdentity
  clock: Clock
  log: Log
  tenure: TenureDeps & StartTimeDeps
}
