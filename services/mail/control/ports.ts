/** What the control plane needs from the rest of the service. `app.ts` connects it; control imports none of it. */
import type { AccountStatus } from '#shared/contract.ts'
import type { Inspections } from '#shared/inspect.ts'
import type { Secret } from '#shared/secret.ts'
import type { InspectionName } from '#shared/subjects.ts'
import type { AccountRef, ProviderName } from '../base/model.ts'

/** Tokens as a client hands them over. */
export type HandedTokens = { accessToken: Secret; refreshToken: Secret; expiresAtS: number }

/** Whose mailbox it is; `null` when the provider cannot be reached, or asked to wait, and the worker has to ask later. */
export type Identified = { identity: { mailbox: string; address: string | null } | null; tokens: HandedTokens }

export type ControlPorts = {
  /** Client id and secret of the provider are there. */
  configured(provider: ProviderName): boolean
  /**
   * Asks the provider whose tokens these are; refreshes once when the access token is refused.
   * @param mailbox that the account is bound to already
   * @throws AppError CREDENTIAL_REFUSED
   */
  identify(account: AccountRef, mailbox: string | null, tokens: HandedTokens, signal: AbortSignal): Promise<Identified>
  seal(account: AccountRef, tokens: HandedTokens): Promise<string>
  /** Status from the owner, when this instance is it. */
  ownStatus(userId: string): Promise<AccountStatus[] | null>
  /** The answer of the owner, when this instance is it and has taken the user over, else null. */
  inspect<N extends InspectionName>(
    name: N,
    userId: string,
    request: Inspections[N]['request'],
  ): Promise<Inspections[N]['reply'] | null>
  /** Address of another instance that owns the user, for `mail.at.<address>.*`; null when none does. */
  otherOwner(userId: string): string | null
  /** The last checkpoint's statuses; empty when there is none. */
  lastStatus(userId: string): Promise<AccountStatus[]>
}
