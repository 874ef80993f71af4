/** How much one caller may ask for: requests and connects per user, requests under way, connections, time for headers. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { requestOperation } from '#shared/control-client.ts'
import { AppError } from '#shared/errors.ts'
import { createJwtVerifier } from '#shared/jwt.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { FLEET_SUBJECT } from '#shared/subjects.ts'
import { createRoutes } from '../../services/http/routes.ts'
import { listen } from '../../services/http/server.ts'
import { ControlService, type ServiceOptions } from '../../services/mail/control/service.ts'
import { UserRate } from '../../services/mail/control/user-rate.ts'
import { ManualClock } from '../mail/base/manual-clock.ts'
import { createSigner, startIssuer } from '../shared/issuer.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { until } from '../support/until.ts'

const log = createLog('test', 'silent')
const LIMITS = { requestsPerMin: 600, connectsPerMin: 20, concurrent: 2_000 }

type Refusal = { code: string; details: Record<string, unknown> } | null

/** What `ask` was refused with; null when it was answered. */
const refusalOf = async (ask: () => unknown): Promise<Refusal> => {
  try {
    await ask()
    return null
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    return { code: error.code, details: error.details }
  }
}
const limited = (per_min: number, retry_after_s: number): Refusal => ({
  code: 'RATE_LIMITED',
  details: { per_min, retry_after_s },
})

test('a user may ask a minute’s worth at once, then as time passes, and is told when', async () => {
  const clock = new ManualClock()
  const rate = new UserRate(LIMITS, clock)
  const status = () => refusalOf(() => rate.admit('ada', 'status'))
  for (let i = 0; i < 600; i++) assert.equal(await status(), null, `request ${i}`)
  assert.deepEqual(await status(), limited(600, 1))
  assert.equal(await refusalOf(() => rate.admit('bob', 'status')), null, 'another user')
  await clock.advance(100)
  assert.equal(await status(), null)
  assert.deepEqual(await status(), limited(600, 1))
  await clock.advance(60_000)
  for (let i = 0; i < 600; i++) assert.equal(await status(), null, `a minute later, request ${i}`)
  assert.deepEqual(await status(), limited(600, 1))
})

test('connects are counted by themselves as well; one that is refused costs nothing', async () => {
  const clock = new ManualClock()
  const rate = new UserRate(LIMITS, clock)
  const connects = () => refusalOf(() => rate.admit('ada', 'connect'))
  for (let i = 0; i < 20; i++) assert.equal(await connects(), null)
  for (let i = 0; i < 2_000; i++) assert.deepEqual(await connects(), limited(20, 3))
  for (let i = 0; i < 580; i++) assert.equal(await refusalOf(() => rate.admit('ada', 'disconnect')), null)
  assert.deepEqual(await refusalOf(() => rate.admit('ada', 'status')), limited(600, 1))
  await clock.advance(3_000)
  assert.equal(await connects(), null)
})

test('of users without end no more than ten thousand are remembered', async () => {
  const rate = new UserRate({ requestsPerMin: 1, connectsPerMin: 1 }, new ManualClock())
  const first = () => refusalOf(() => rate.admit('first', 'status'))
  assert.equal(await first(), null)
  for (let i = 0; i < 9_999; i++) rate.admit(`user-${i}`, 'status')
  assert.deepEqual(await first(), limited(1, 60))
  // To ask is to be remembered longer: what has been forgotten is somebody else.
  for (let i = 0; i < 10_000; i++) rate.admit(`other-${i}`, 'status')
  assert.equal(await first(), null)
})

type Service = {
  nc: NatsConnection
  clock: ManualClock
  jwt(sub: string): Promise<string>
  release(): void
  asked: number
}

/** The endpoints on a real server; a status waits until it is released. */
async function service(t: TestContext, limits: ServiceOptions['limits'], waits = false): Promise<Service> {
  const server = await startNatsServer({ conf: 'open' })
  t.after(() => server[Symbol.asyncDispose]())
  const nc = await connectNats(
    { url: server.url, name: 'test', inboxPrefix: '_INBOX' },
    log,
    AbortSignal.timeout(10_000),
  )
  t.after(() => drainNats(nc, log))
  const signer = await createSigner('key-1')
  const issuer = await startIssuer([signer.jwk])
  t.after(() => issuer[Symbol.asyncDispose]())
  const gate = Promise.withResolvers<void>()
  if (!waits) gate.resolve()
  const own: Service = {
    nc,
    clock: new ManualClock(),
    jwt: (sub) => signer.sign({ iss: issuer.url, aud: issuer.url, sub, exp: Math.floor(Date.now() / 1000) + 600 }),
    release: gate.resolve,
    asked: 0,
  }
  const status = async (userId: string) => {
    own.asked++
    await gate.promise
    return { user_id: userId, running_syncs: [], accounts: [] }
  }
  const control = await ControlService.start({
    nc,
    jwt: createJwtVerifier({ jwksUrl: issuer.jwksUrl, issuer: issuer.url, audience: issuer.url }),
    handlers: {
      connect: async (user_id, { provider }) => ({ message: 'mail sync started', provider, user_id }),
      status,
      disconnect: async () => ({ message: 'mail sync stopped' }),
      ownerStatus: status,
      fleet: async () => Promise.reject(new AppError('NO_INSTANCE')),
      rekey: async () => Promise.reject(new AppError('NO_INSTANCE')),
      erase: async () => Promise.reject(new AppError('NO_INSTANCE')),
      inspect: status,
      ownerInspect: status,
    },
    log,
    version: '0.0.1',
    instance: 'a',
    address: 'here',
    metadata: {},
    trusted: true,
    limits,
    clock: own.clock,
    metrics: async () => ({}),
  })
  t.after(() => control[Symbol.asyncDispose]())
  return own
}

const CONNECT = { provider: 'google', access_token: 'a', refresh_token: 'r', expires_in: 1 }

test('over NATS: refused with the time to wait, by user, and trusted services are not counted', async (t) => {
  const own = await service(t, { ...LIMITS, requestsPerMin: 4, connectsPerMin: 1 })
  const [ada, bob] = [await own.jwt('ada'), await own.jwt('bob')]
  const requestId = 'test'
  const connects = (jwt: string, body: object = CONNECT) =>
    refusalOf(() => requestOperation(own.nc, 'connect', { jwt, body, requestId }))
  const asks = (by: { jwt: string } | { asUser: string }) =>
    refusalOf(() => requestOperation(own.nc, 'status', { ...by, body: {}, requestId }))
  assert.equal(await connects(ada), null)
  assert.deepEqual(await connects(ada), limited(1, 60))
  for (let i = 0; i < 3; i++) assert.equal(await asks({ jwt: ada }), null)
  assert.deepEqual(await asks({ jwt: ada }), limited(4, 15))
  // A request that is refused for what it says has been counted.
  assert.equal((await connects(bob, { provider: 'x' }))?.code, 'BAD_REQUEST')
  assert.deepEqual(await connects(bob), limited(1, 60))
  for (let i = 0; i < 20; i++) assert.equal(await asks({ asUser: 'ada' }), null)
  await own.clock.advance(15_000)
  assert.equal(await asks({ jwt: ada }), null)
})

test('control: without a rate one user is answered as often as it asks', async (t) => {
  const own = await service(t, { requestsPerMin: Number.POSITIVE_INFINITY, connectsPerMin: 1, concurrent: 2_000 })
  const jwt = await own.jwt('ada')
  for (let i = 0; i < 700; i++) await requestOperation(own.nc, 'status', { jwt, body: {}, requestId: 'test' })
  assert.equal(own.asked, 700)
})

test('requests under way are bounded: the next one is refused at once, and the fleet still answers', async (t) => {
  const own = await service(t, { ...LIMITS, concurrent: 3 }, true)
  const ask = () => requestOperation(own.nc, 'status', { asUser: 'ada', body: {}, requestId: 'test' })
  const waiting = [ask(), ask(), ask()]
  await until('three are under way', () => own.asked === 3)
  for (let i = 0; i < 10; i++)
    assert.deepEqual(await refusalOf(ask), { code: 'RATE_LIMITED', details: { busy: true, retry_after_s: 1 } })
  assert.match((await own.nc.request(FLEET_SUBJECT, '')).string(), /NO_INSTANCE/)
  own.release()
  await Promise.all(waiting)
  assert.equal(await refusalOf(ask), null)
  assert.equal(own.asked, 4)
})

/** Sends the beginning of a request and then a byte of a header now and then; resolves with what it was told at the end. */
async function loris(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let told = ''
  socket.on('error', () => undefined)
  socket.on('data', (bytes) => {
    told += bytes.toString()
  })
  socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ')
  const drip = setInterval(() => socket.write('a'), 100)
  // It may be cut off, which is no error here.
  await new Promise((resolve) => socket.on('close', resolve))
  clearInterval(drip)
  return told.slice(0, told.indexOf('\r\n'))
}

test('who sends headers slowly holds a connection for seconds, and no more connections than there are', async (t) => {
  const server = await listen(() => new Response('ok'), { host: '127.0.0.1', port: 0, connectionsMax: 60 }, log)
  t.after(() => server.close())
  const port = Number(new URL(server.url).port)
  const ask = async () => await (await fetch(server.url, { headers: { connection: 'close' } })).text()
  const slow = Array.from({ length: 50 }, () => loris(port))
  assert.equal(await ask(), 'ok')
  slow.push(...Array.from({ length: 40 }, () => loris(port)))
  const told = await Promise.all(slow)
  assert.deepEqual(new Set(told), new Set(['HTTP/1.1 408 Request Timeout', '']))
  assert.ok(told.filter((line) => line === '').length >= 30, 'closed without a word')
  assert.ok(told.slice(0, 50).every((line) => line !== ''))
  assert.equal(await ask(), 'ok')
})

/** Sends all at once on one connection; resolves with the status of each answer. */
async function pipelined(url: string, requests: string[], onSent: () => Promise<void>): Promise<number[]> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  let told = ''
  socket.on('data', (bytes) => {
    told += bytes.toString()
  })
  socket.write(requests.join(''))
  await onSent()
  await once(socket, 'end')
  return [...told.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
}

test('requests that come at once on one connection wait for NATS no more than the bound, the others are refused', async (t) => {
  const gate = Promise.withResolvers<void>()
  let waiting = 0
  const routes = createRoutes({
    verifier: { verify: async () => ({ userId: 'ada', expiresAt: 0 }) },
    async forward() {
      waiting++
      await gate.promise
      return {}
    },
    ready: async () => undefined,
    metrics: async () => '',
    openApi: {},
    concurrent: 4,
    answered: () => undefined,
    stopping: () => false,
    log,
  })
  const server = await listen(routes.fetch, { host: '127.0.0.1', port: 0, connectionsMax: 10 }, log)
  t.after(() => server.close())
  const status = 'GET /mail/status HTTP/1.1\r\nHost: x\r\n\r\n'
  const last = 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
  const told = await pipelined(server.url, [...Array.from({ length: 10 }, () => status), last], async () => {
    await until('four wait', () => waiting === 4)
    const busy = await fetch(`${server.url}/mail/status`)
    assert.deepEqual([busy.status, busy.headers.get('retry-after')], [429, '1'])
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200)
    gate.resolve()
  })
  assert.deepEqual(told, [200, 200, 200, 200, 429, 429, 429, 429, 429, 429, 200])
  assert.equal((await fetch(`${server.url}/mail/status`)).status, 200, 'when they are done there is room')
})
