import assert from 'node:assert/strict'
import test from 'node:test'
import { createConformance } from './conformance.ts'
import { gmail, listAll } from './requests.ts'
import { type Simulator, type SimulatorOptions, startSimulator } from './simulator.ts'
import type { Credentials } from './types.ts'

const google = { user: 'u1', provider: 'google' } as const
const START = Date.UTC(2026, 5, 1)

interface Reply {
  status: number
  headers: Headers
  text: string
  /** Status of each part, in the order of asking; undefined = it is missing. */
  statuses: (number | undefined)[]
  parts: string[]
}

const bodyOf = (paths: readonly string[]): string =>
  paths
    .map((path, at) => `--x\r\nContent-Type: application/http\r\nContent-ID: <n${at}>\r\n\r\nGET ${path}\r\n\r\n`)
    .join('\r\n')
    .concat('\r\n--x--\r\n')

async function post(simulator: Simulator, who: Credentials, body: string, type = 'multipart/mixed; boundary=x') {
  const headers = { authorization: `Bearer ${who.access_token}`, 'content-type': type }
  return await fetch(`${simulator.url}/batch/gmail/v1`, { method: 'POST', headers, body })
}

async function batch(simulator: Simulator, who: Credentials, ids: readonly string[]): Promise<Reply> {
  const paths = ids.map((id) => `/gmail/v1/users/me/messages/${id}?format=metadata`)
  const response = await post(simulator, who, bodyOf(paths))
  const text = await response.text()
  const boundary = /boundary=(.+)$/.exec(response.headers.get('content-type') ?? '')?.[1] ?? ''
  const parts = text.split(`--${boundary}`).slice(1, -1)
  const partOf = (at: number) => parts.find((part) => part.includes(`<response-n${at}>`)) ?? ''
  const statusOf = (part: string) => (part === '' ? undefined : Number(/HTTP\/1\.1 (\d+)/.exec(part)?.[1]))
  const asked = ids.map((_, at) => partOf(at))
  return { status: response.status, headers: response.headers, text, parts: asked, statuses: asked.map(statusOf) }
}

async function world(n: number, options: SimulatorOptions = {}) {
  const simulator = await startSimulator(options)
  const who = simulator.addMailbox({ ...google, n, mix: { spam: 0, trash: 0 } })
  return { simulator, who, ids: await listAll(simulator, who, 500) }
}
const repeat = (status: number, times: number): number[] => Array<number>(times).fill(status)

test('a batch of Gmail answers each part as a request alone, in another order; each is paid, logged and checked', async () => {
  const conformance = createConformance()
  const { simulator, who, ids } = await world(5, { onAnswer: conformance.onAnswer })
  await using _ = simulator
  const before = simulator.ledger().mailboxes['google:u1']?.used ?? 0
  const reply = await batch(simulator, who, [...ids, 'nowhere'])
  assert.equal(reply.status, 200)
  assert.deepEqual(reply.statuses, [...repeat(200, 5), 404])
  assert.ok(reply.text.indexOf('<response-n5>') < reply.text.indexOf('<response-n0>'))
  const alone = await gmail<{ id: string }>(simulator, who, `messages/${ids[0]}?format=metadata`)
  assert.deepEqual(JSON.parse(reply.parts[0]?.split('\r\n\r\n')[2] ?? ''), alone.body)
  const parts = simulator.log().filter(({ batched }) => batched)
  assert.deepEqual(
    parts.map(({ route, cost, status, inflight }) => [route, cost, status, inflight]),
    repeat(200, 6).map((status, at) => ['gmail.messages.get', 20, at === 5 ? 404 : status, at + 1]),
  )
  const whole = simulator.log().filter(({ route }) => route === 'gmail.batch')
  assert.deepEqual(
    whole.map(({ cost, status }) => [cost, status]),
    [[0, 200]],
  )
  const { used, inflight, peakInflight } = simulator.ledger().mailboxes['google:u1'] ?? {}
  assert.deepEqual([used, inflight, peakInflight], [before + 7 * 20, 0, 6])
  assert.deepEqual([conformance.problems(), conformance.checked()['gmail.messages.get']], [[], 6])
})

test('a fault of a part spoils that part; one of the wire, or of the batch itself, all of them', async () => {
  const { simulator, who, ids } = await world(3)
  await using _ = simulator
  const part = { route: 'gmail.messages.get', nth: 2 }
  const spoilt = async (...add: Parameters<typeof simulator.faults.add>): Promise<Reply> => {
    simulator.faults.clear()
    simulator.faults.add(...add)
    return await batch(simulator, who, ids)
  }
  assert.deepEqual((await spoilt({ match: part, fault: { type: '500' } })).statuses, [200, 500, 200])
  assert.deepEqual((await spoilt({ match: part, fault: { type: 'reset', when: 'before' } })).statuses, [
    200,
    undefined,
    200,
  ])
  assert.match(
    (await spoilt({ match: part, fault: { type: '429', retryAfter: 7 } })).parts[1] ?? '',
    /retry-after: 7\r\n/,
  )
  const cut = await spoilt({ match: part, fault: { type: 'truncate', mode: 'clean' } })
  assert.throws(() => JSON.parse(cut.parts[1]?.split('\r\n\r\n')[2] ?? ''), SyntaxError)
  assert.equal((await spoilt({ match: part, fault: { type: 'wrongType' } })).statuses[1], 200)
  const skewed = await spoilt({ match: part, fault: { type: 'clockSkew', s: 86_400 } })
  assert.ok(Date.parse(skewed.headers.get('date') ?? '') > Date.now() + 80_000_000)
  const outer = { route: 'gmail.batch' }
  assert.equal((await spoilt({ match: outer, fault: { type: '503' } })).status, 503)
  assert.equal((await spoilt({ match: outer, fault: { type: 'emptyBody' } })).text, '')
  const half = await spoilt({ match: outer, fault: { type: 'truncate', mode: 'clean' } })
  assert.ok(half.text.length > 0 && !half.text.endsWith('--'))
  simulator.faults.clear()
  assert.deepEqual((await batch(simulator, { ...who, access_token: 'unknown' }, ids)).status, 401)
})

test('parts use up the quota one by one, and the rest is refused; a batch before the announced time is early', async () => {
  let now = START
  const { simulator, who, ids } = await world(1, { profile: '2026-05', now: () => now, graceMs: 0 })
  await using _ = simulator
  const [id = ''] = ids
  now += 60_000
  for (let at = 0; at < 2; at++)
    assert.deepEqual((await batch(simulator, who, Array(100).fill(id))).statuses, repeat(200, 100))
  assert.deepEqual((await batch(simulator, who, Array(99).fill(id))).statuses, repeat(200, 99))
  assert.deepEqual((await batch(simulator, who, [id, id, id])).statuses, [200, 403, 403])
  assert.deepEqual([simulator.ledger().overdraft, simulator.ledger().earlyRetries], [40, 0])
  assert.deepEqual((await batch(simulator, who, [id, id])).statuses, [403, 403])
  assert.equal(simulator.ledger().earlyRetries, 1)
})

test('where Gmail serves so many at once, further parts are refused without a time, and nothing is overdrawn', async () => {
  const { simulator, who, ids } = await world(6, { concurrencyGmail: 4 })
  await using _ = simulator
  const reply = await batch(simulator, who, ids)
  assert.deepEqual(reply.statuses, [...repeat(200, 4), 429, 429])
  assert.match(reply.parts[5] ?? '', /Too many concurrent requests for user/)
  assert.deepEqual((await batch(simulator, who, ids.slice(0, 4))).statuses, repeat(200, 4))
  const { overdraft, earlyRetries, mailboxes } = simulator.ledger()
  assert.deepEqual([overdraft, earlyRetries, mailboxes['google:u1']?.refused], [0, 0, 2])
})

test('what is no batch, empty, or of more than a hundred parts is a bad request', async () => {
  const { simulator, who } = await world(1)
  await using _ = simulator
  const path = '/gmail/v1/users/me/messages/x'
  for (const [body, type] of [
    [bodyOf([])],
    [bodyOf(Array(101).fill(path))],
    [bodyOf([path]), 'application/json'],
    [bodyOf([path]).slice(0, -4)],
    [bodyOf(['/drive/v3/files'])],
    [bodyOf([path]).replace('application/http', 'text/plain')],
  ] as const)
    assert.equal((await post(simulator, who, body, type)).status, 400, body.slice(0, 80))
})
