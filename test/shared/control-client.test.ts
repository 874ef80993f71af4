import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { requestOperation } from '#shared/control-client.ts'
import { AppError, type ErrorCode } from '#shared/errors.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, headers, type NatsConnection, PermissionViolationError } from '#shared/nats.ts'
import { asSubject, HEADER_ERROR_CODE, requestSubject } from '#shared/subjects.ts'
import { startTapped } from '../security/own-conf.ts'
import type { NatsServer } from '../support/nats-server.ts'

const stack = new AsyncDisposableStack()
let server: NatsServer
let nc: NatsConnection
const log = createLog('test', 'silent')
const connect = (user: 'ops' | 'bridge'): Promise<NatsConnection> =>
  connectNats(
    { url: server.url, user, password: server.passwords[user], name: 'test', inboxPrefix: `_INBOX_${user}` },
    log,
    AbortSignal.timeout(10_000),
  )
before(async () => {
  server = await startTapped(stack)
  nc = await connect('ops')
})
after(async () => {
  await drainNats(nc, log)
  await stack.disposeAsync()
})

const ask = (more: { timeoutMs?: number; signal?: AbortSignal; body?: unknown } = {}) =>
  requestOperation(nc, 'status', { asUser: 'ada', requestId: 'r', body: {}, ...more })

/** Answers the next requests of ada with these bytes. */
function answering(data: string, status?: number): Disposable {
  const subscription = nc.subscribe(asSubject('ada', 'status'), {
    callback: (_error, message) => {
      const hdrs = headers()
      if (status !== undefined) hdrs.set(HEADER_ERROR_CODE, String(status))
      message.respond(data, { headers: hdrs })
    },
  })
  return { [Symbol.dispose]: () => subscription.unsubscribe() }
}

async function refused(answer: Promise<unknown>, code: ErrorCode): Promise<AppError> {
  const error = await answer.catch((thrown: unknown) => thrown)
  assert.ok(error instanceof AppError, String(error))
  assert.equal(error.code, code)
  return error
}

test('nobody listens: NO_INSTANCE; somebody is silent: TIMEOUT at the deadline', async () => {
  assert.deepEqual((await refused(ask(), 'NO_INSTANCE')).details, { nats: 'connected' })
  const silent = nc.subscribe(asSubject('ada', 'status'))
  const { details } = await refused(ask({ timeoutMs: 50 }), 'TIMEOUT')
  assert.deepEqual(details, { timeout_ms: 50 })
  silent.unsubscribe()
})

test('a reply is checked; fields of a newer release are passed on', async () => {
  using _ = answering('{"user_id":"ada","running_syncs":[],"accounts":[],"newer":1}')
  assert.deepEqual(await ask(), { user_id: 'ada', running_syncs: [], accounts: [], newer: 1 })
})

test('a reply that does not fit the contract is INTERNAL and shows nothing of itself', async () => {
  for (const data of ['', 'canary', '{"user_id":"canary"}', '[]']) {
    using _ = answering(data)
    assert.doesNotMatch(JSON.stringify((await refused(ask(), 'INTERNAL')).details), /canary/)
  }
})

test('an error of the service is rebuilt with its details; a foreign one is INTERNAL', async () => {
  const body = { error: { code: 'CONFLICT', message: 'm', hint: 'h', details: { round: 5 }, request_id: 'r' } }
  {
    using _ = answering(JSON.stringify(body), 409)
    assert.deepEqual((await refused(ask(), 'CONFLICT')).details, { round: 5 })
  }
  using _ = answering('stack trace', 500)
  assert.deepEqual((await refused(ask(), 'INTERNAL')).details, { status: 500 })
})

test('a request that is too large or not permitted is not waited for', async () => {
  await refused(ask({ body: { filler: 'x'.repeat(65 * 1024) } }), 'TOO_LARGE')
  const bridge = await connect('bridge')
  await assert.rejects(
    requestOperation(bridge, 'status', { asUser: 'ada', requestId: 'r', body: {} }),
    PermissionViolationError,
  )
  await drainNats(bridge, log)
})

test('bytes are sent as they are, however deep their JSON is nested', async () => {
  const seen: string[] = []
  const subscription = nc.subscribe(asSubject('ada', 'status'), {
    callback: (_error, message) => {
      seen.push(message.string())
      message.respond('{"user_id":"ada","running_syncs":[],"accounts":[]}')
    },
  })
  const deep = '['.repeat(30_000) + ']'.repeat(30_000)
  await ask({ body: new TextEncoder().encode(deep) })
  assert.ok(seen[0] === deep)
  await refused(ask({ body: new Uint8Array(65 * 1024) }), 'TOO_LARGE')
  subscription.unsubscribe()
})

test('an aborted wait ends with its reason', async () => {
  const silent = nc.subscribe(requestSubject('status'))
  const stop = new AbortController()
  const asked = ask({ signal: stop.signal })
  stop.abort(new Error('enough'))
  await assert.rejects(asked, /enough/)
  await assert.rejects(ask({ signal: stop.signal }), /enough/)
  silent.unsubscribe()
})

test('a closed connection is NO_INSTANCE', async () => {
  const closed = await connect('bridge')
  await closed.close()
  const { details } = await refused(
    requestOperation(closed, 'status', { jwt: 'a.b.c', requestId: 'r', body: {} }),
    'NO_INSTANCE',
  )
  assert.deepEqual(details, { nats: 'disconnected' })
})
