/**
 * What Gmail's refusals mean. Pure: it sorts an answer that is not 200 into the kinds of the adapter contract and never
 * decides who waits, retries or gives up.
 */
import * as v from 'valibot'
import { ProviderError, type ProviderErrorFacts } from '../provider.ts'
import { retryAfterMs } from '../retry-after.ts'

const text = v.fallback(v.string(), '')
const Reason = v.fallback(v.object({ reason: text }), { reason: '' })
const Body = v.object({
  error: v.object({
    message: text,
    status: text,
    errors: v.fallback(v.array(Reason), []),
    details: v.fallback(v.array(Reason), []),
  }),
})

const RATE_REASONS = new Set([
  'rateLimitExceeded',
  'userRateLimitExceeded',
  'dailyLimitExceeded',
  'quotaExceeded',
  'RATE_LIMIT_EXCEEDED',
])
const RATE_TEXT = /rate.?limit exceeded|quota exceeded|too many concurrent requests/i
const PRECONDITION = new Set(['failedPrecondition', 'FAILED_PRECONDITION'])
/** Refusals of the grant or the project: the same for every message. */
const ACCOUNT_WIDE = new Set([
  'insufficientPermissions',
  'ACCESS_TOKEN_SCOPE_INSUFFICIENT',
  'accessNotConfigured',
  'SERVICE_DISABLED',
  'domainPolicy',
])

/** Gmail looked into the mailbox, and the message is not there. Any other 404 says nothing about a message. */
export const isNotFound = ({ kind, facts }: ProviderError): boolean =>
  kind === 'rejected' && facts.status === 404 && /^not_?found$/i.test(facts.code ?? '')

/** One message was refused, and only that one. */
export const refusesOneMessage = (error: ProviderError): boolean => {
  const { status, code = '' } = error.facts
  if (PRECONDITION.has(code)) return true
  return error.kind === 'rejected' && (status === 400 || status === 403) && !ACCOUNT_WIDE.has(code)
}

const isProjectWide = (reason: string, message: string): boolean =>
  reason === 'dailyLimitExceeded' || (/limit '[^']*per (?:minute|day)/i.test(message) && !/per user/i.test(message))

export type Refusal = { operation: string; status: number; headers: Pick<Headers, 'get'>; body: unknown }

/** An answer that is not 200. A body that is not Google's error object comes from something in between: transient. */
export function gmailError({ operation, status, headers, body }: Refusal): ProviderError {
  const parsed = v.safeParse(Body, body)
  const error = parsed.success ? parsed.output.error : { message: '', status: '', errors: [], details: [] }
  const reasons = [...error.errors, ...error.details].map(({ reason }) => reason).filter((reason) => reason !== '')
  const code = reasons.find((reason) => RATE_REASONS.has(reason)) ?? reasons[0] ?? error.status
  const waitMs = retryAfterMs(headers, error.message)
  const facts: ProviderErrorFacts = {
    operation,
    status,
    code,
    ...(waitMs !== undefined && { retryAfterMs: waitMs }),
  }
  if (status === 401) return new ProviderError('auth', facts)
  const isRate = RATE_REASONS.has(code) || error.status === 'RESOURCE_EXHAUSTED' || RATE_TEXT.test(error.message)
  if (status === 429 || ((status === 403 || status === 400) && isRate)) {
    const scope = isProjectWide(code, error.message) ? 'project' : 'mailbox'
    return new ProviderError('throttled', { ...facts, scope })
  }
  // Whoever names a time is not asked before it, whatever keeps the answer away.
  if (status >= 500 && waitMs !== undefined) return new ProviderError('throttled', { ...facts, scope: 'mailbox' })
  if (status >= 500 || status === 408 || !parsed.success) return new ProviderError('transient', facts)
  // Gmail answers this now and then to requests that work a moment later.
  if (status === 400 && PRECONDITION.has(code)) return new ProviderError('transient', facts)
  return new ProviderError('rejected', facts)
}

/** The position that was sent is not known any more: too old (404), or not a position (400). */
export const forgotPosition = (error: ProviderError): boolean => {
  const { status, code = '' } = error.facts
  return (
    error.kind === 'rejected' && (status === 404 || (status === 400 && /^(?:invalid\w*|bad_?request)$/i.test(code)))
  )
}

/**
 * What was asked with a page token was refused, in whatever words. Nothing but the token differs from a request that works,
 * and it is worth little; kept, it would be refused for ever.
 */
export const refusesPageToken = ({ kind, facts }: ProviderError): boolean =>
  facts.status === 400 && kind !== 'throttled'
