/**
 * A token endpoint that has refused is not asked again before it may be: until then the fault is thrown anew, with what
 * is left of the wait, whoever wants a token. In memory only; it never sleeps and never judges a grant.
 */

import { lru } from '#shared/lru.ts'
import type { Secret } from '#shared/secret.ts'
import { type AccountRef, accountName, type ProviderName } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import type { GrantError, GrantErrorCode } from './grant-error.ts'

const ACCOUNTS_MAX = 20_000
/** For a fault without an announced wait. */
const TRANSIENT_MS = 5_000
/** Only an operator can help; nobody notices a minute. */
const CONFIG_MS = 60_000
/** The client itself is refused. The other codes may be the fault of one grant, for which no other user is to wait. */
const OF_CLIENT: ReadonlySet<GrantErrorCode> = new Set(['invalid_client', 'deleted_client', 'disabled_client'])

type Cold = { error: GrantError; untilMs: number }

export class CoolDown {
  readonly #clock: Clock
  readonly #grants = lru<Cold & { refreshToken: Secret }>(ACCOUNTS_MAX)
  readonly #providers = new Map<ProviderName, Cold>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @throws GrantError while the grant, or everybody at its provider, has to wait; another grant need not. */
  check(account: AccountRef, refreshToken: Secret): void {
    this.#throwUnlessOver(this.#providers.get(account.provider))
    const grant = this.#grants.get(accountName(account))
    if (grant?.refreshToken.reveal() === refreshToken.reveal()) this.#throwUnlessOver(grant)
  }

  /** The endpoint has refused. Too many requests, or a refused client, hold for everybody at the provider. */
  note(account: AccountRef, refreshToken: Secret, error: GrantError): void {
    if (error.kind === 'reauth') return
    const leastMs = error.kind === 'config' ? CONFIG_MS : TRANSIENT_MS
    const cold = { error, untilMs: this.#clock.monoMs() + Math.max(leastMs, error.retryAfterMs ?? 0) }
    if (error.status !== 429 && !OF_CLIENT.has(error.code))
      this.#grants.set(accountName(account), { ...cold, refreshToken })
    else if (cold.untilMs > (this.#providers.get(account.provider)?.untilMs ?? 0))
      this.#providers.set(account.provider, cold)
  }

  /** The grant was good. */
  clear(account: AccountRef): void {
    this.#grants.delete(accountName(account))
  }

  #throwUnlessOver(cold: Cold | undefined): void {
    const leftMs = cold === undefined ? 0 : cold.untilMs - this.#clock.monoMs()
    if (cold !== undefined && leftMs > 0) throw cold.error.again(Math.ceil(leftMs))
  }
}
