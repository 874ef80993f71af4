import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { CONTRACT } from '#shared/contract.ts'
import { AppError, ERRORS, type ErrorBody, type ErrorCode } from '#shared/errors.ts'
import { until } from '../support/until.ts'
import { type BridgeBox, bridgeBox } from './bridge-box.ts'

let box: BridgeBox
let jwt: string
let sessionToken: string
let userId: string
before(async () => {
  box = await bridgeBox()
  const ada = await box.auth.signUp('ada@example.com')
  ;[jwt, sessionToken, userId] = [await ada.jwt(), ada.sessionToken, ada.userId]
})
after(() => box[Symbol.asyncDispose]())

const CONNECT = { provider: 'google', access_token: 'ya29.xxx', refresh_token: '1//xxx', expires_in: 3600 }

function ask(path: string, init: RequestInit & { token?: string | null } = {}): Promise<Response> {
  const token = init.token === undefined ? jwt : init.token
  return fetch(`${box.url}${path}`, {
    signal: AbortSignal.timeout(20_000),
    ...init,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(init.method === 'POST' ? { 'content-type': 'application/json' } : {}),
      ...init.headers,
    },
  })
}
const post = (path: string, body: unknown, init: RequestInit & { token?: string | null } = {}): Promise<Response> =>
  ask(path, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), ...init })

async function refused(answer: Promise<Response>, code: ErrorCode): Promise<ErrorBody['error'] & { headers: Headers }> {
  const response = await answer
  const { error } = (await response.json()) as ErrorBody
  assert.deepEqual([response.status, error.code], [ERRORS[code].status, code])
  assert.deepEqual(Object.keys(error), ['code', 'message', 'hint', 'details', 'request_id'])
  assert.equal(response.headers.get('x-request-id'), error.request_id)
  assert.match(response.headers.get('content-type') ?? '', /^application\/json/)
  return { ...error, headers: response.headers }
}

test('a user connects, sees the status and disconnects, as the brief shows it', async () => {
  const connected = await post('/mail/connect', CONNECT)
  assert.equal(connected.status, 200)
  assert.deepEqual(await connected.json(), { message: 'mail sync started', provider: 'google', user_id: userId })
  const status = (await (await ask('/mail/status')).json()) as Record<string, unknown>
  assert.deepEqual([status.user_id, status.running_syncs], [userId, [`${userId}:primary:GOOGLE`]])
  const gone = await post('/mail/disconnect', { provider: 'google' })
  assert.deepEqual(await gone.json(), { message: 'mail sync stopped' })
})

test('the user is the subject of the JWT, and the request id of the caller travels to the service', async () => {
  const answer = await post('/mail/connect', CONNECT, { headers: { 'x-request-id': 'trace-1' } })
  assert.equal(answer.headers.get('x-request-id'), 'trace-1')
  assert.deepEqual(box.service.seen.at(-1), {
    operation: 'connect',
    userId,
    body: { ...CONNECT, inbox_id: 'primary' },
    requestId: 'trace-1',
  })
})

test('a request id that could forge a header or a log line is replaced', async () => {
  const answer = await ask('/healthz', { headers: { 'x-request-id': 'a b"\t{}' } })
  assert.match(answer.headers.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/)
})

test('bad requests get their documented error and never reach an operation', async (t) => {
  const seen = box.service.seen.length
  const foreign = await (await import('../support/better-auth.ts')).startBetterAuth()
  t.after(() => foreign.close())
  const eve = await (await foreign.signUp('eve@example.com')).jwt()
  const unknownKey = { ...CONNECT, user_id: 'someone-else' }
  const { refresh_token: _, ...missing } = CONNECT
  const cases: [string, Promise<Response>, ErrorCode][] = [
    ['no token', post('/mail/connect', CONNECT, { token: null }), 'TOKEN_MISSING'],
    ['no token for a status', ask('/mail/status', { token: null }), 'TOKEN_MISSING'],
    ['another scheme', ask('/mail/status', { token: null, headers: { authorization: 'Basic YTpi' } }), 'TOKEN_MISSING'],
    ['an opaque session token', post('/mail/connect', CONNECT, { token: sessionToken }), 'TOKEN_NOT_A_JWT'],
    ['a foreign issuer', post('/mail/connect', CONNECT, { token: eve }), 'TOKEN_INVALID'],
    ['a changed signature', ask('/mail/status', { token: `${jwt.slice(0, -12)}AAAAAAAAAAAA` }), 'TOKEN_INVALID'],
    ['a wrong provider', post('/mail/connect', { ...CONNECT, provider: 'yahoo' }), 'BAD_REQUEST'],
    ['a missing field', post('/mail/connect', missing), 'BAD_REQUEST'],
    ['an extra field', post('/mail/connect', unknownKey), 'BAD_REQUEST'],
    ['a wrong type', post('/mail/connect', { ...CONNECT, expires_in: '3600' }), 'BAD_REQUEST'],
    ['a bad inbox', post('/mail/disconnect', { provider: 'google', inbox_id: '../x' }), 'BAD_REQUEST'],
    ['an array', post('/mail/connect', []), 'BAD_REQUEST'],
    ['null', post('/mail/connect', 'null'), 'BAD_REQUEST'],
    ['an unknown query key', ask('/mail/status?user_id=someone-else'), 'BAD_REQUEST'],
    ['a megabyte', post('/mail/connect', { ...CONNECT, access_token: 'x'.repeat(1024 ** 2) }), 'TOO_LARGE'],
    ['a streamed megabyte', post('/mail/connect', '', streamed(1024 ** 2)), 'TOO_LARGE'],
    ['not JSON', post('/mail/connect', '{"provider":'), 'BAD_JSON'],
    ['an empty body', post('/mail/connect', ''), 'BAD_JSON'],
    ['not UTF-8', post('/mail/connect', '', { body: new Uint8Array([0x22, 0xff, 0x22]) }), 'BAD_JSON'],
    ['a form', post('/mail/connect', 'a=b', { headers: { 'content-type': 'text/plain' } }), 'UNSUPPORTED_MEDIA_TYPE'],
    ['an unknown path', ask('/mail/connects'), 'NOT_FOUND'],
    ['a wrong method', ask('/mail/connect'), 'METHOD_NOT_ALLOWED'],
    ['another wrong method', ask('/mail/status', { method: 'DELETE' }), 'METHOD_NOT_ALLOWED'],
  ]
  for (const [name, answer, code] of cases) await t.test(name, async () => void (await refused(answer, code)))
  assert.equal(box.service.seen.length, seen)
})

function streamed(bytes: number): RequestInit {
  const body = new ReadableStream({
    start(controller) {
      for (let sent = 0; sent < bytes; sent += 16_384) controller.enqueue(new Uint8Array(16_384).fill(0x20))
      controller.close()
    },
  })
  return { body, duplex: 'half' }
}

test('a refused method names the allowed ones, and a refused token how to send one', async () => {
  const method = await refused(ask('/mail/connect', { method: 'PUT' }), 'METHOD_NOT_ALLOWED')
  assert.equal(method.headers.get('allow'), 'POST')
  const token = await refused(ask('/mail/status', { token: null }), 'TOKEN_MISSING')
  assert.match(token.headers.get('www-authenticate') ?? '', /^Bearer/)
})

test('an error of the service comes through with its code, details and Retry-After', async (t) => {
  t.after(() => {
    box.service.before = () => undefined
  })
  box.service.before = () => {
    throw new AppError('RATE_LIMITED', { retry_after_s: 7 })
  }
  const limited = await refused(ask('/mail/status'), 'RATE_LIMITED')
  assert.deepEqual([limited.details, limited.headers.get('retry-after')], [{ retry_after_s: 7 }, '7'])
  box.service.before = () => {
    throw new Error('the password is hunter2')
  }
  const failed = await refused(ask('/mail/status'), 'INTERNAL')
  assert.doesNotMatch(JSON.stringify(failed), /hunter2/)
})

test('a service that does not answer is a TIMEOUT at the deadline of the contract', async (t) => {
  t.after(() => {
    box.service.before = () => undefined
  })
  const never = Promise.withResolvers<void>()
  box.service.before = () => never.promise
  const late = await refused(ask('/mail/status'), 'TIMEOUT')
  assert.deepEqual(late.details, { timeout_ms: CONTRACT.status.timeoutMs })
  never.resolve()
})

test('a client that goes away ends its wait and is no error of the service', async (t) => {
  t.after(() => {
    box.service.before = () => undefined
  })
  const seen = box.service.seen.length
  const hold = Promise.withResolvers<void>()
  box.service.before = () => hold.promise
  const leave = new AbortController()
  const left = ask('/mail/status', { signal: leave.signal })
  await until('the request is in flight', () => box.service.seen.length > seen)
  leave.abort()
  await assert.rejects(left, { name: 'AbortError' })
  await until('its wait has ended', async () => /status="499"/.test(await (await ask('/metrics')).text()))
  hold.resolve()
})

test('answers carry security headers and are not stored', async () => {
  const { headers } = await ask('/mail/status')
  assert.equal(headers.get('x-content-type-options'), 'nosniff')
  assert.match(headers.get('content-security-policy') ?? '', /default-src 'none'/)
  assert.equal(headers.get('cache-control'), 'no-store')
})

test('metrics hold the own counters and those of each instance, and no name that is not ours', async () => {
  await ask('/mail/status')
  const text = await (await ask('/metrics', { token: null })).text()
  assert.match(text, /^mailsync_http_request_seconds_count\{method="GET",route="\/mail\/status",status="200"\} [1-9]/m)
  assert.match(text, /^mailsync_instances 1$/m)
  assert.match(text, /^mailsync_accounts\{instance="stand-in-1",state="live"\} 3$/m)
  assert.match(text, /^mailsync_outbox_depth\{instance="stand-in-1"\} 7$/m)
  assert.match(text, /^mailsync_endpoint_requests_total\{instance="stand-in-1",endpoint="status"\} [1-9]/m)
  assert.doesNotMatch(text, /evil|user_abc/)
  assert.doesNotMatch(text, new RegExp(userId))
})

test('health is the bridge alone, readiness needs an instance that answers', async () => {
  assert.deepEqual(await (await ask('/healthz', { token: null })).json(), { status: 'ok' })
  assert.equal((await ask('/readyz', { token: null })).status, 200)
})

test('a client that sends its headers or its body drop by drop is cut off', async () => {
  const { port } = new URL(box.url)
  const slow = connect(Number(port), '127.0.0.1')
  slow.write('POST /mail/connect HTTP/1.1\r\nHost: x\r\n')
  const closed = new Promise<string>((resolve) => {
    let text = ''
    slow.on('data', (chunk) => {
      text += chunk.toString()
    })
    slow.on('close', () => resolve(text))
  })
  assert.match(await closed, /^HTTP\/1\.1 408 /)
})

test('without an instance requests are refused at once, readiness says so, and the log is not flooded', async () => {
  await using lonely = await bridgeBox()
  await lonely.service.stop()
  const token = await (await lonely.auth.signUp('bob@example.com')).jwt()
  for (const answer of [statusOf(lonely.url, token), fetch(`${lonely.url}/readyz`)])
    assert.deepEqual((await refused(answer, 'NO_INSTANCE')).details, { nats: 'connected' })
  const flood = Array.from({ length: 50 }, () => statusOf(lonely.url, token))
  await Promise.all(flood.map((answer) => refused(answer, 'NO_INSTANCE')))
  const lines = lonely.logged.filter((line) => line.includes('NO_INSTANCE'))
  assert.ok(lines.length < 10, `${lines.length} lines for 52 answers`)
  assert.doesNotMatch(lines.join(''), /stack/)
})

/** A status request to a bridge of its own. */
const statusOf = (url: string, token: string): Promise<Response> =>
  fetch(`${url}/mail/status`, { headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(9_000) })

test('without the issuer a user is told so, with its address and when to come again', async () => {
  await using away = await bridgeBox()
  const token = await (await away.auth.signUp('bob@example.com')).jwt()
  await away.auth.close()
  const unreachable = await refused(statusOf(away.url, token), 'ISSUER_UNREACHABLE')
  assert.equal(unreachable.details.url, away.auth.jwksUrl)
  assert.ok(Number(unreachable.headers.get('retry-after')) >= 1)
  await refused(statusOf(away.url, 'opaque'), 'TOKEN_NOT_A_JWT')
})

test('while NATS is away requests are refused at once, and answered when it is back', async () => {
  await using box = await bridgeBox()
  const token = await (await box.auth.signUp('eve@example.com')).jwt()
  assert.equal((await statusOf(box.url, token)).status, 200)
  await box.nats.stop()
  await until('the bridge has noticed', async () => (await fetch(`${box.url}/readyz`)).status === 503)
  await refused(statusOf(box.url, token), 'NO_INSTANCE')
  assert.equal((await fetch(`${box.url}/healthz`)).status, 200)
  assert.equal((await fetch(`${box.url}/metrics`)).status, 200)
  await box.nats.start()
  await until('NATS is back', async () => (await statusOf(box.url, token)).status === 200)
})

test('a stop answers what is in flight, takes nothing new and ends', async () => {
  await using box = await bridgeBox()
  const token = await (await box.auth.signUp('bob@example.com')).jwt()
  const hold = Promise.withResolvers<void>()
  box.service.before = () => hold.promise
  const pending = fetch(`${box.url}/mail/status`, { headers: { authorization: `Bearer ${token}` } })
  await until('the request is in flight', () => box.service.seen.length > 0)
  const stopped = box.stop()
  await until('the port is closed', () =>
    fetch(`${box.url}/healthz`).then(
      () => false,
      () => true,
    ),
  )
  hold.resolve()
  const answer = await pending
  assert.deepEqual([answer.status, answer.headers.get('connection')], [200, 'close'])
  await stopped
})
