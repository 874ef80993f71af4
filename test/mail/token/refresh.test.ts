import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import { OAuth2Server } from 'oauth2-mock-server'
import { createHttp } from '../../../services/mail/base/http.ts'
import { GrantError } from '../../../services/mail/token/grant-error.ts'
import { GRANT_HTTP, refreshGrant, revokeGrant } from '../../../services/mail/token/refresh.ts'
import { describeError } from '../../../shared/log.ts'
import { Secret } from '../../../shared/secret.ts'
import { type Answer, grantAnswer, refusal, TokenServer } from './token-server.ts'

const REFRESH = new Secret('canary-refresh')
const signal = new AbortController().signal

async function start(t: TestContext, answer: Answer): Promise<TokenServer> {
  const server = await TokenServer.start()
  t.after(() => server[Symbol.asyncDispose]())
  server.answer = () => answer
  return server
}

async function grantErrorFrom(work: Promise<unknown>): Promise<GrantError> {
  const error = await work.then(
    () => assert.fail('it should have failed'),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof GrantError, inspect(error))
  return error
}

test('a refresh sends the grant with the credentials of the client and takes a rotated token', async (t) => {
  const server = await start(
    t,
    grantAnswer({
      access_token: 'a2',
      refresh_token: 'r2',
      expires_in: '3599',
      token_type: 'Bearer',
      id_token: 'x.y.z',
    }),
  )
  const grant = await refreshGrant(server.client('microsoft'), REFRESH, signal)
  assert.equal(grant.accessToken.reveal(), 'a2')
  assert.equal(grant.refreshToken?.reveal(), 'r2')
  assert.equal(grant.expiresInS, 3599)
  assert.deepEqual(Object.fromEntries(server.forms[0] ?? []), {
    grant_type: 'refresh_token',
    refresh_token: 'canary-refresh',
    client_id: 'client-id',
    client_secret: 'canary-client-secret',
  })
})

test('an answer without a refresh token leaves the old one in force', async (t) => {
  const server = await start(t, grantAnswer({ access_token: 'a2', expires_in: 3600, token_type: 'bearer' }))
  assert.equal((await refreshGrant(server.client('google'), REFRESH, signal)).refreshToken, null)
})

const REFUSALS: [string, Answer, 'reauth' | 'config' | 'transient'][] = [
  ['invalid_grant', refusal(400, 'invalid_grant'), 'reauth'],
  ['interaction_required', refusal(400, 'interaction_required'), 'reauth'],
  ['consent_required', refusal(400, 'consent_required'), 'reauth'],
  ['invalid_client', refusal(401, 'invalid_client'), 'config'],
  ['unauthorized_client', refusal(400, 'unauthorized_client'), 'config'],
  ['temporarily_unavailable', refusal(400, 'temporarily_unavailable'), 'transient'],
  ['an error nobody knows', refusal(400, 'canary_error'), 'transient'],
  ['invalid_grant under 503', refusal(503, 'invalid_grant'), 'transient'],
  ['a 500 in HTML', { status: 500, body: '<html>canary-body</html>' }, 'transient'],
  ['a 200 in HTML', { status: 200, body: '<html>canary-body</html>' }, 'transient'],
  ['a 200 without token', grantAnswer({ expires_in: 3600 }), 'transient'],
  ['a token with a line break', grantAnswer({ access_token: 'a\r\nb', expires_in: 3600 }), 'transient'],
  ['a token of another type', grantAnswer({ access_token: 'a', token_type: 'DPoP' }), 'transient'],
  ['a life of nothing', grantAnswer({ access_token: 'a', expires_in: -1 }), 'transient'],
  ['an answer without end', { status: 200, body: `{"access_token":"${'a'.repeat(70_000)}"}` }, 'transient'],
  ['a redirect', { status: 302, body: '', headers: { location: 'http://127.0.0.1:9/' } }, 'transient'],
  ['a cut connection', 'reset', 'transient'],
]
for (const [name, answer, kind] of REFUSALS)
  test(`${name} is ${kind} and nothing of the answer or the request gets into the error`, async (t) => {
    const server = await start(t, answer)
    const error = await grantErrorFrom(refreshGrant(server.client('google'), REFRESH, signal))
    assert.equal(error.kind, kind)
    const shown = `${inspect(error, { depth: 9, showHidden: true })}${JSON.stringify(describeError(error))}${JSON.stringify(error)}`
    assert.doesNotMatch(shown, /canary/)
  })

test('the wait that a provider announces is in the error, a date taken by the clock of the provider', async (t) => {
  const server = await start(t, refusal(429, 'slow_down', { 'retry-after': '17' }))
  const client = server.client('google')
  assert.equal((await grantErrorFrom(refreshGrant(client, REFRESH, signal))).retryAfterMs, 17_000)
  const headers = { date: 'Tue, 01 Jan 2002 00:00:00 GMT', 'retry-after': 'Tue, 01 Jan 2002 00:00:42 GMT' }
  server.answer = () => refusal(503, 'server_error', headers)
  assert.equal((await grantErrorFrom(refreshGrant(client, REFRESH, signal))).retryAfterMs, 42_000)
})

test('no answer within the deadline is transient, and a caller who gives up gets its own reason', async (t) => {
  const server = await start(t, 'hang')
  const late = await grantErrorFrom(refreshGrant(server.client('google', { deadlineMs: 50 }), REFRESH, signal))
  assert.deepEqual([late.kind, late.code], ['transient', 'timeout'])
  const stop = new AbortController()
  const reason = new Error('stopped')
  server.answer = () => {
    stop.abort(reason)
    return 'hang'
  }
  await assert.rejects(refreshGrant(server.client('google'), REFRESH, stop.signal), reason)
})

test('plain http goes to loopback only', async (t) => {
  const server = await start(t, grantAnswer({ access_token: 'a' }))
  const client = { ...server.client('google'), tokenUrl: 'http://token.invalid/token' }
  assert.equal((await grantErrorFrom(refreshGrant(client, REFRESH, signal))).kind, 'transient')
  assert.equal(server.forms.length, 0)
})

test('a grant is revoked once, a dead one counts as revoked, and Microsoft is not asked', async (t) => {
  const server = await start(t, { status: 200, body: '' })
  await revokeGrant(server.client('google'), REFRESH, signal)
  assert.equal(server.forms[0]?.get('token'), 'canary-refresh')
  server.answer = () => refusal(400, 'invalid_token')
  await revokeGrant(server.client('google'), REFRESH, signal)
  server.answer = () => refusal(503, 'server_error')
  assert.equal((await grantErrorFrom(revokeGrant(server.client('google'), REFRESH, signal))).kind, 'transient')
  await revokeGrant(server.client('microsoft'), REFRESH, signal)
  assert.equal(server.forms.length, 3)
})

test('a third-party OAuth server grants, and its invalid_grant asks for a new sign-in', async (t) => {
  const server = new OAuth2Server()
  await server.issuer.keys.generate('RS256')
  await server.start(0, '127.0.0.1')
  t.after(() => server.stop())
  const http = createHttp(GRANT_HTTP)
  t.after(() => http[Symbol.asyncDispose]())
  const tokenUrl = `http://127.0.0.1:${server.address().port}/token`
  const own = { clientId: 'client-id', clientSecret: new Secret('secret'), revokeUrl: null }
  const client = { ...own, provider: 'google' as const, tokenUrl, http }
  const grant = await refreshGrant(client, REFRESH, signal)
  assert.equal(grant.accessToken.reveal().split('.').length, 3)
  server.service.once('beforeResponse', (response) => {
    response.statusCode = 400
    response.body = { error: 'invalid_grant' }
  })
  assert.equal((await grantErrorFrom(refreshGrant(client, REFRESH, signal))).kind, 'reauth')
})
