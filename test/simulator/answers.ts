/** Owns the error bodies of both providers in their own shapes. Refuses to decide when they are due. */
import type { Answer, ForgottenState } from './types.ts'

interface GoogleErrorFacts {
  domain?: string
  reason: string
  status: string
  headers?: Record<string, string>
}

export function googleError(code: number, message: string, facts: GoogleErrorFacts): Answer {
  const { domain = 'global', reason, status, headers } = facts
  return {
    status: code,
    ...(headers && { headers }),
    body: { error: { code, message, errors: [{ message, domain, reason }], status } },
  }
}

export const googleNotFound = (message = 'Requested entity was not found.'): Answer =>
  googleError(404, message, { reason: 'notFound', status: 'NOT_FOUND' })

export const googleBadRequest = (message: string): Answer =>
  googleError(400, message, { reason: 'invalidArgument', status: 'INVALID_ARGUMENT' })

export function googleUnauthenticated(): Answer {
  const message =
    'Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.'
  const detail = {
    message: 'Invalid Credentials',
    domain: 'global',
    reason: 'authError',
    location: 'Authorization',
    locationType: 'header',
  }
  return {
    status: 401,
    headers: { 'www-authenticate': 'Bearer realm="https://accounts.google.com/", error="invalid_token"' },
    body: { error: { code: 401, message, errors: [detail], status: 'UNAUTHENTICATED' } },
  }
}

/** Gmail names the time in the message and sends no Retry-After. */
export function googleRateLimit(reopenMs: number, reason: string, code: 403 | 429 = 403): Answer {
  const who = reason === 'rateLimitExceeded' ? 'Rate limit exceeded.' : 'User-rate limit exceeded.'
  const message = `${who}  Retry after ${new Date(reopenMs).toISOString()}`
  const status = code === 403 ? 'PERMISSION_DENIED' : 'RESOURCE_EXHAUSTED'
  return googleError(code, message, { domain: 'usageLimits', reason, status })
}

/** No time is named: it is over when others have their answer. */
export const googleConcurrency = (): Answer =>
  googleError(429, 'Too many concurrent requests for user.', {
    domain: 'usageLimits',
    reason: 'rateLimitExceeded',
    status: 'RESOURCE_EXHAUSTED',
  })

export function googleProjectLimit(): Answer {
  const message =
    "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'gmail.googleapis.com' for consumer 'project_number:1'."
  return googleError(403, message, { domain: 'usageLimits', reason: 'rateLimitExceeded', status: 'PERMISSION_DENIED' })
}

export function graphError(status: number, code: string, message: string, headers?: Record<string, string>): Answer {
  const innerError = { date: '2026-01-01T00:00:00', 'request-id': '00000000-0000-4000-8000-000000000000' }
  return { status, ...(headers && { headers }), body: { error: { code, message, innerError } } }
}

export const graphNotFound = (): Answer =>
  graphError(404, 'ErrorItemNotFound', 'The specified object was not found in the store.')

export const graphThrottled = (retryAfterS: number, message: string): Answer =>
  graphError(429, 'ApplicationThrottled', message, { 'retry-after': String(retryAfterS) })

export function graphUnauthenticated(): Answer {
  return graphError(401, 'InvalidAuthenticationToken', 'Lifetime validation failed, the token is expired.', {
    'www-authenticate': 'Bearer realm="", error="invalid_token"',
  })
}

export function graphGone(code: ForgottenState, location: string, generation = 0, highest = 0): Answer {
  const message =
    code === 'resyncRequired'
      ? 'Resync required. Replace any local items with the server version.'
      : `The sync state generation is not found; generation=${generation};[highest=${highest}][${highest}][${highest - 2}][${highest - 1}].`
  return graphError(410, code, message, code === 'resyncRequired' ? { location } : undefined)
}

export function oauthError(status: number, error: string, description: string, codes?: number[]): Answer {
  return { status, body: { error, error_description: description, ...(codes && { error_codes: codes }) } }
}
