import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { graphError, isNotFound, refusesOneMessage } from '../../../../services/mail/provider/outlook/errors.ts'

type Extra = { headers?: Record<string, string>; sentLink?: boolean; location?: string }
const refused = (status: number, code: string, message = '', { headers = {}, ...rest }: Extra = {}) =>
  graphError({
    operation: 'graph.messages.delta',
    status,
    headers: new Headers(headers),
    body: { error: { code, message, innerError: {} } },
    sentLink: true,
    ...rest,
  })

describe('refusals of Graph', () => {
  it('counts every 429 as a limit, with its wait and whom it is for', () => {
    const mine = refused(429, 'ApplicationThrottled', 'Application is over its MailboxConcurrency limit.', {
      headers: { 'retry-after': '250' },
    })
    assert.equal(mine.kind, 'throttled')
    assert.equal(mine.facts.retryAfterMs, 250_000)
    assert.equal(mine.facts.scope, 'mailbox')
    assert.equal(refused(429, 'ApplicationThrottled', 'Application is over its request limit.').facts.scope, 'project')
    assert.equal(refused(429, 'TooManyRequests').facts.scope, 'mailbox')
  })

  it('takes a 503 that names a time for a pause, and one that names none as transient', () => {
    const error = refused(503, 'ServiceUnavailable', '', { headers: { 'retry-after': '3' } })
    assert.equal(error.kind, 'throttled')
    assert.equal(error.facts.retryAfterMs, 3_000)
    assert.equal(refused(503, 'ServiceUnavailable').kind, 'transient')
  })

  it('recognises a forgotten position by status, by code and by text', () => {
    assert.equal(refused(410, 'resyncRequired').kind, 'gone')
    assert.equal(refused(410, 'somethingNew').kind, 'gone')
    const text = 'The sync state generation is not found; generation=149;[highest=157][157][155][156].'
    for (const status of [400, 404]) {
      assert.equal(refused(status, 'SyncStateNotFound', text).kind, 'gone')
      assert.equal(refused(status, 'syncStateInvalid').kind, 'gone')
      assert.equal(refused(status, 'ErrorInvalidUrlQuery', 'Badly formed token.').kind, 'gone')
      assert.equal(refused(status, 'ErrorInvalidUrlQuery', 'Badly formed token.', { sentLink: false }).kind, 'rejected')
      assert.equal(refused(status, 'ErrorInvalidRequest', 'The request is invalid.').kind, 'rejected')
    }
    for (const [status, code] of [
      [410, 'resyncRequired'],
      [404, 'SyncStateNotFound'],
    ] as const)
      assert.equal(refused(status, code, '', { sentLink: false }).kind, 'rejected', 'no position was sent')
    const location = 'https://graph.example/v1.0/me/mailFolders/x/messages/delta'
    assert.equal(refused(410, 'resyncRequired', '', { location }).facts.restartCursor, location)
  })

  it('tells a missing folder from a missing mailbox and from an answer of something in between', () => {
    assert.ok(isNotFound(refused(404, 'ErrorItemNotFound', 'The specified object was not found in the store.')))
    assert.ok(!isNotFound(refused(404, 'MailboxNotEnabledForRESTAPI', 'x')))
    const between = graphError({ operation: 'x', status: 404, headers: new Headers(), body: '<html>', sentLink: false })
    assert.equal(between.kind, 'transient')
    assert.ok(!isNotFound(between))
    assert.ok(!isNotFound(new Error('x')))
  })

  it('takes no sentence for a code: it may repeat the token', () => {
    const error = refused(400, 'EwB4A8l6BAAU is not a token', 'EwB4A8l6BAAU is not valid')
    assert.deepEqual([error.message, error.facts.code], ['graph.messages.delta: rejected (400)', undefined])
  })

  it('separates the grant, the account and the single message', () => {
    assert.equal(refused(401, 'InvalidAuthenticationToken').kind, 'auth')
    const denied = refused(403, 'ErrorAccessDenied')
    assert.equal(denied.kind, 'rejected')
    assert.equal(denied.facts.code, 'ErrorAccessDenied')
    assert.ok(!refusesOneMessage(denied))
    assert.ok(!refusesOneMessage(refused(403, 'Authorization_RequestDenied')))
    assert.ok(refusesOneMessage(refused(400, 'ErrorInvalidIdMalformed', 'Id is malformed.')))
    assert.ok(!refusesOneMessage(refused(500, 'InternalServerError')))
  })
})
