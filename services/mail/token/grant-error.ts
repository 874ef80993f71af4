/**
 * Why a token endpoint gave nothing, in three kinds that the callers act on. It carries codes of a closed list only:
 * what a provider writes into an error never gets further than this file.
 */
import type { ProviderName } from '../base/model.ts'

/**
 * reauth: the user must sign in again · config: our client is refused, an operator must act, no user is to be marked
 * transient: the same request may work later
 */
export type GrantErrorKind = 'reauth' | 'config' | 'transient'

const REAUTH = [
  'invalid_grant',
  'interaction_required',
  'consent_required',
  'login_required',
  'account_selection_required',
  'access_denied',
  'unauthorized',
  'admin_policy_enforced',
  'org_internal',
] as const
const CONFIG = [
  'invalid_client',
  'unauthorized_client',
  'deleted_client',
  'disabled_client',
  'restricted_client',
  'invalid_request',
  'invalid_scope',
  'unsupported_grant_type',
  'unsupported_token_type',
] as const
const TRANSIENT = ['temporarily_unavailable', 'server_error', 'slow_down'] as const
const KINDS = new Map<string, GrantErrorKind>([
  ...REAUTH.map((code) => [code, 'reauth'] as const),
  ...CONFIG.map((code) => [code, 'config'] as const),
  ...TRANSIENT.map((code) => [code, 'transient'] as const),
])

/** Faults that are not the provider's words: no answer, too late, an answer that cannot be read. */
type OwnCode = 'network' | 'timeout' | 'bad_answer' | 'http_error'
export type GrantErrorCode = (typeof REAUTH)[number] | (typeof CONFIG)[number] | (typeof TRANSIENT)[number] | OwnCode

const isProviderCode = (code: string): code is Exclude<GrantErrorCode, OwnCode> => KINDS.has(code)

export type GrantErrorFacts = {
  operation: 'refresh' | 'revoke'
  code: GrantErrorCode
  status?: number
  /** Announced wait, measured against the provider's own clock. */
  retryAfterMs?: number
}

export class GrantError extends Error {
  override readonly name = 'GrantError'
  readonly kind: GrantErrorKind
  readonly code: GrantErrorCode
  readonly provider: ProviderName
  readonly status: number | undefined
  readonly retryAfterMs: number | undefined
  readonly #operation: GrantErrorFacts['operation']
  constructor(kind: GrantErrorKind, provider: ProviderName, facts: GrantErrorFacts) {
    super(
      `${provider} ${facts.operation}: ${kind} (${facts.code}${facts.status === undefined ? '' : `, ${facts.status}`})`,
    )
    this.kind = kind
    this.code = facts.code
    this.provider = provider
    this.status = facts.status
    this.retryAfterMs = facts.retryAfterMs
    this.#operation = facts.operation
  }

  /** The same fault while it still holds, for somebody who has not asked. */
  again(retryAfterMs: number): GrantError {
    const status = this.status === undefined ? {} : { status: this.status }
    return new GrantError(this.kind, this.provider, {
      operation: this.#operation,
      code: this.code,
      ...status,
      retryAfterMs,
    })
  }
}

/**
 * The error of an answer that is not a success.
 * @param code the member `error` of the body, if it has one.
 */
export function grantErrorOf(
  provider: ProviderName,
  answer: { operation: 'refresh' | 'revoke'; status: number; code: string | null; retryAfterMs?: number },
): GrantError {
  const { operation, status, code, retryAfterMs } = answer
  const wait = retryAfterMs === undefined ? {} : { retryAfterMs }
  // Whatever a body says under 429 or 5xx, nobody has judged the grant.
  if (status === 429 || status >= 500 || code === null || !isProviderCode(code))
    return new GrantError('transient', provider, { operation, code: 'http_error', status, ...wait })
  return new GrantError(KINDS.get(code) ?? 'transient', provider, { operation, code, status, ...wait })
}
