/** How much one caller may ask for: requests and connects per user, requests under way, connections, time for headers. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { requestOperation } from '#shared/control-client.ts'
import { FLEET_SUBJECT } from '#shared/subjects.ts'
import { listen } from '../../services/http/server.ts'
import { UserRate } from '../../services/mail/control/user-rate.ts'
import { ManualClock } from '../mail/base/manual-clock.ts'
import { until } from '../support/until.ts'
import { gatedBridge, log, loris, pipelined, type Refusal, refusalOf, service } from './limits-box.ts'

const LIMITS = { requestsPerMin: 600, connectsPerMin: 20, concurrent: 2_000 }

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

test('control: without a rate of connects one user connects as often as it asks', async (t) => {
  const own = await service(t, { ...LIMITS, connectsPerMin: Number.POSITIVE_INFINITY })
  const jwt = await own.jwt('ada')
  for (let i = 0; i < 100; i++) await requestOperation(own.nc, 'connect', { jwt, body: CONNECT, requestId: 'test' })
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

test('control: without a bound all requests are under way at once', async (t) => {
  const own = await service(t, { ...LIMITS, concurrent: Number.POSITIVE_INFINITY }, true)
  const ask = () => requestOperation(own.nc, 'status', { asUser: 'ada', body: {}, requestId: 'test' })
  const waiting = Array.from({ length: 100 }, ask)
  await until('all are under way', () => own.asked === 100)
  own.release()
  await Promise.all(waiting)
})

test('who sends headers slowly holds a connection for seconds, and no more connections than there are', async (t) => {
  const server = await listen(() => new Response('ok'), { host: '127.0.0.1', port: 0, connectionsMax: 60 }, log)
  t.after(() => server.close())
  const port = Number(new URL(server.url).port)
  const ask = async () => await (await fetch(server.url, { headers: { connection: 'close' } })).text()
  const slow = Array.from({ length: 50 }, () => loris(port).closed)
  assert.equal(await ask(), 'ok')
  slow.push(...Array.from({ length: 40 }, () => loris(port).closed))
  const told = await Promise.all(slow)
  assert.deepEqual(new Set(told), new Set(['HTTP/1.1 408 Request Timeout', '']))
  assert.ok(told.filter((line) => line === '').length >= 30, 'closed without a word')
  assert.ok(told.slice(0, 50).every((line) => line !== ''))
  assert.equal(await ask(), 'ok')
})

function connectionsOf(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)))
  })
}

test('control: a server without deadlines keeps slow clients while ours cuts them off, and answers them in the end', async (t) => {
  const patient = createServer({ headersTimeout: 0, requestTimeout: 0 }, (_request, response) => response.end('ok'))
  patient.listen(0, '127.0.0.1')
  await once(patient, 'listening')
  t.after(() => patient.close())
  const kept = Array.from({ length: 10 }, () => loris((patient.address() as AddressInfo).port))
  await until('all are connected', async () => (await connectionsOf(patient)) === kept.length)
  const ours = await listen(() => new Response('ok'), { host: '127.0.0.1', port: 0, connectionsMax: 60 }, log)
  t.after(() => ours.close())
  // Later than those, and at an end before them.
  const cut = await Promise.all(kept.map(() => loris(Number(new URL(ours.url).port)).closed))
  assert.deepEqual(new Set(cut), new Set(['HTTP/1.1 408 Request Timeout']))
  assert.equal(await connectionsOf(patient), kept.length)
  for (const each of kept) each.finish()
  assert.deepEqual(new Set(await Promise.all(kept.map(({ closed }) => closed))), new Set(['HTTP/1.1 200 OK']))
})

test('control: without a bound on connections slow clients get as many as they want', async (t) => {
  const unbounded = { host: '127.0.0.1', port: 0, connectionsMax: Number.POSITIVE_INFINITY }
  const server = await listen(() => new Response('ok'), unbounded, log)
  t.after(() => server.close())
  const slow = Array.from({ length: 90 }, () => loris(Number(new URL(server.url).port)).closed)
  assert.deepEqual(new Set(await Promise.all(slow)), new Set(['HTTP/1.1 408 Request Timeout']))
})

const STATUS = 'GET /mail/status HTTP/1.1\r\nHost: x\r\n\r\n'
const LAST = 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
const TEN = [...Array.from({ length: 10 }, () => STATUS), LAST]

test('requests that come at once on one connection wait for NATS no more than the bound, the others are refused', async () => {
  await using bridge = await gatedBridge(4)
  const told = await pipelined(bridge.url, TEN, async () => {
    await until('four wait', () => bridge.waiting === 4)
    const busy = await fetch(`${bridge.url}/mail/status`)
    assert.deepEqual([busy.status, busy.headers.get('retry-after')], [429, '1'])
    assert.equal((await fetch(`${bridge.url}/healthz`)).status, 200)
    bridge.release()
  })
  assert.deepEqual(told, [200, 200, 200, 200, 429, 429, 429, 429, 429, 429, 200])
  assert.equal((await fetch(`${bridge.url}/mail/status`)).status, 200, 'when they are done there is room')
})

test('control: without the bound all that come at once on one connection wait for NATS', async () => {
  await using bridge = await gatedBridge(Number.POSITIVE_INFINITY)
  const told = await pipelined(bridge.url, TEN, async () => {
    await until('ten wait', () => bridge.waiting === 10)
    bridge.release()
  })
  assert.deepEqual(
    told,
    TEN.map(() => 200),
  )
})
