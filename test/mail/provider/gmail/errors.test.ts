import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  forgotPosition,
  gmailError,
  isNotFound,
  refusesOneMessage,
  refusesPageToken,
} from '../../../../services/mail/provider/gmail/errors.ts'

const DATE = 'Fri, 11 Sep 2026 19:59:00 GMT'

const refused = (status: number, error: object | string, headers: Record<string, string> = {}) =>
  gmailError({
    operation: 'gmail.messages.get',
    status,
    headers: new Headers({ date: DATE, ...headers }),
    body: { error },
  })

const withReason = (status: number, reason: string, message = 'text', extra = {}) =>
  refused(status, { code: status, message, errors: [{ message, domain: 'usageLimits', reason }], ...extra })

describe('refusals of Gmail', () => {
  it('reads the reopening time out of the message, against the Date of the answer', () => {
    const message = 'User-rate limit exceeded.  Retry after 2026-09-11T20:00:00.000Z'
    const error = withReason(403, 'userRateLimitExceeded', message, { status: 'PERMISSION_DENIED' })
    assert.equal(error.kind, 'throttled')
    assert.deepEqual(error.facts, {
      operation: 'gmail.messages.get',
      status: 403,
      code: 'userRateLimitExceeded',
      retryAfterMs: 60_000,
      scope: 'mailbox',
    })
  })

  it('takes Retry-After in seconds and as a date; the past means now; nonsense means nothing', () => {
    const wait = (value: string) => refused(429, { message: '' }, { 'retry-after': value }).facts.retryAfterMs
    assert.equal(wait('7'), 7_000)
    assert.equal(wait('Fri, 11 Sep 2026 20:14:00 GMT'), 900_000)
    assert.equal(wait('Fri, 11 Sep 2026 19:00:00 GMT'), 0)
    assert.equal(wait('soon'), undefined)
  })

  it('tells a limit from a refusal in a 403', () => {
    for (const reason of ['rateLimitExceeded', 'userRateLimitExceeded', 'quotaExceeded', 'dailyLimitExceeded']) {
      assert.equal(withReason(403, reason).kind, 'throttled', reason)
    }
    const texts = [
      "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service 'gmail.googleapis.com'",
      'Too many concurrent requests for user.',
    ]
    for (const message of texts) assert.equal(refused(403, { message }).kind, 'throttled', message)
    for (const reason of ['insufficientPermissions', 'domainPolicy', 'accessNotConfigured', 'forbidden']) {
      const error = withReason(403, reason)
      assert.equal(error.kind, 'rejected', reason)
      assert.equal(error.facts.code, reason)
    }
    const details = [{ '@type': 'x', reason: 'ACCESS_TOKEN_SCOPE_INSUFFICIENT' }]
    const scope = refused(403, { status: 'PERMISSION_DENIED', message: 'x', details })
    assert.equal(scope.facts.code, 'ACCESS_TOKEN_SCOPE_INSUFFICIENT')
    assert.equal(refusesOneMessage(scope), false)
  })

  it('takes no sentence for a code: it may repeat the token', () => {
    for (const reason of ['ya29.a0AfH6SMBx', 'not with the token ya29', 'x'.repeat(65)]) {
      const error = refused(400, { message: reason, status: reason, errors: [{ reason }] })
      assert.deepEqual(error.facts, { operation: 'gmail.messages.get', status: 400 })
      assert.equal(error.message, 'gmail.messages.get: rejected (400)')
    }
  })

  it('knows a limit of the whole project from one of the mailbox', () => {
    const perProject = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'gmail'"
    const perUser =
      "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service 'gmail'"
    assert.equal(withReason(403, 'rateLimitExceeded', perProject).facts.scope, 'project')
    assert.equal(withReason(429, 'rateLimitExceeded', perUser).facts.scope, 'mailbox')
    assert.equal(withReason(403, 'dailyLimitExceeded').facts.scope, 'project')
    assert.equal(withReason(403, 'userRateLimitExceeded').facts.scope, 'mailbox')
  })

  it('takes a 503 that names a time for a pause', () => {
    const error = refused(503, { code: 503, message: 'x', errors: [] }, { 'retry-after': '120' })
    assert.deepEqual([error.kind, error.facts.retryAfterMs], ['throttled', 120_000])
  })

  it('sorts the rest by status, and bodies that are not Google’s as transient', () => {
    assert.equal(withReason(401, 'authError').kind, 'auth')
    for (const status of [500, 502, 503, 504, 408]) assert.equal(withReason(status, 'backendError').kind, 'transient')
    assert.equal(withReason(400, 'failedPrecondition', 'x', { status: 'FAILED_PRECONDITION' }).kind, 'transient')
    assert.equal(withReason(400, 'invalidArgument').kind, 'rejected')
    for (const body of ['<html>', undefined, null, [], 7, { error: 'text' }]) {
      const headers = new Headers()
      for (const status of [400, 404, 403, 502]) {
        assert.equal(gmailError({ operation: 'x', status, headers, body }).kind, 'transient')
      }
    }
  })

  it('says which refusals concern one message, and which a position', () => {
    assert.ok(refusesOneMessage(withReason(400, 'failedPrecondition')))
    assert.ok(refusesOneMessage(withReason(400, 'invalidArgument')))
    assert.ok(refusesOneMessage(withReason(403, 'forbidden')))
    assert.ok(!refusesOneMessage(withReason(401, 'authError')))
    assert.ok(!refusesOneMessage(withReason(500, 'backendError')))
    assert.ok(isNotFound(withReason(404, 'notFound')))
    assert.ok(isNotFound(refused(404, { status: 'NOT_FOUND' })))
    assert.ok(!isNotFound(withReason(404, 'mailServiceNotEnabled')))
    assert.ok(!isNotFound(withReason(410, 'notFound')))
    assert.ok(forgotPosition(withReason(404, 'notFound')))
    assert.ok(forgotPosition(withReason(400, 'invalidArgument')))
    for (const reason of ['badRequest', 'invalid', 'INVALID_ARGUMENT'])
      assert.ok(forgotPosition(withReason(400, reason)))
    assert.ok(!forgotPosition(withReason(400, 'failedPrecondition')))
    for (const reason of ['badRequest', 'failedPrecondition', 'x']) assert.ok(refusesPageToken(withReason(400, reason)))
    for (const reason of ['rateLimitExceeded', 'quotaExceeded']) assert.ok(!refusesPageToken(withReason(400, reason)))
    assert.ok(!refusesPageToken(withReason(403, 'forbidden')))
  })
})
