/** What a worker is given, and what it shows to the operations that run its lanes. Types only. */
import type { AccountErrorCode } from '#shared/errors.ts'
import type { Log } from '#shared/log.ts'
import type { Secret } from '#shared/secret.ts'
import type { AccountRef, Epoch } from '../base/model.ts'
import type { Pace } from '../base/slot.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Clock } from '../base/time.ts'
import type { MailProvider } from '../provider/provider.ts'
import type { SubjectPage } from '../store/audits.ts'
import type { OutboxRow } from '../store/outbox-rows.ts'
import type { UserStore, UserTx } from '../store/user-store.ts'
import type { TokenProvider } from '../token/tokens.ts'
import type { AccountState } from './account-state.ts'
import type { MailboxLimiter } from './limiter.ts'

export type WorkerDeps = {
  provider: MailProvider
  limiter: MailboxLimiter
  tokens: Pick<TokenProvider, 'accessToken'>
  store: UserStore
  clock: Clock
  log: Log
  telemetry: Telemetry
  pace: Pace
  /** The user's part of each interval, see `slotOf`. */
  slot: number
  /** Asked before every effect; politeness, not safety. */
  owns(): boolean
  /** How many connected accounts share the mailbox, this one included. */
  sharers(): number
  /**
   * Writes mailbox and address into the account's record if none stand there; false = another mailbox stands there.
   * @throws RevisionConflict when the credential is another one by now than that of the access token
   */
  bind(identity: { mailbox: string; address: string | null }, accessToken: Secret): Promise<boolean>
  /** The record says so already. */
  bound: { mailbox: string | null; address: string | null }
  /** Noted before a `reauth`: the token that the provider refuses though it was just refreshed, or that opens another mailbox. */
  refused(accessToken: Secret): void
  /** Writes into the account's record that the user must sign in again. @throws when the credential is another one by now */
  reauth(code: AccountErrorCode): Promise<void>
  /**
   * Mail was stored: a hint for the relay. `cursorOnly` = only a position moved; `rows` = of the outbox, those that the
   * transaction made, if no other has written since
   */
  committed(cursorOnly: boolean, rows?: readonly OutboxRow[]): void
  /** A poll has found nothing. */
  idled?(): void
  /** One page of the stream against the ledger, see `auditSubject`. */
  auditSubject(account: AccountRef, cursor: string | null, signal: AbortSignal): Promise<SubjectPage>
  /** The whole provider project is throttled. */
  projectThrottled(delayMs: number): void
  random(): number
  /** Test-only control arm: positions are stored before the mail that they have passed. */
  cursorFirst?: true
  /** Test-only control arm: an audit takes everything for known. */
  auditCompares?: false
}

/** A worker as its operations see it. */
export type LaneHost = {
  readonly account: AccountRef
  readonly epoch: Epoch
  readonly deps: WorkerDeps
  readonly state: AccountState
  /** The wall clock. When it was set, all times that wait are moved first: none is to be moved that was noted after. */
  nowMs(): number
  /** Writes the row of `provider_sync_state`. */
  putStatus(tx: UserTx, nowMs: number): void
}
