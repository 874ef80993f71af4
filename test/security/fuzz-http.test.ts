/**
 * Threats T2 and T11 over HTTP, on bare sockets: broken, partial, pipelined, oversized and odd requests beside random ones of
 * good form, to the bridge. None is answered with a status of 500 or more other than 503, and nothing of a secret is told.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { AppError } from '#shared/errors.ts'
import { type BridgeBox, bridgeBox } from '../http/bridge-box.ts'
import { cases, chunks, heapBytes } from './amount.ts'

const REQUESTS = cases(2_000, 50_000)
const AT_ONCE = 20
const HEAP_MAX_GROWTH_BYTES = 32 * 1024 ** 2
const CANARY = 'canary-c81b'
/** The place of a good token, which the test puts there. */
const JWT = '<jwt>'

let box: BridgeBox
let user: Awaited<ReturnType<BridgeBox['auth']['signUp']>>
let jwt: string
before(async () => {
  box = await bridgeBox()
  user = await box.auth.signUp('ada@example.com')
  jwt = await user.jwt()
  // The stand-in keeps what is connected, without a bound.
  box.service.before = (operation) => {
    if (operation === 'connect') throw new AppError('CREDENTIAL_REFUSED')
  }
})
after(() => box[Symbol.asyncDispose]())

type Sent = {
  bytes: Buffer
  /** The client ends its half of the connection when all is sent. */
  ends: boolean
}

const GOOD = JSON.stringify({
  provider: 'google',
  access_token: `${CANARY}-a`,
  refresh_token: `${CANARY}-r`,
  expires_in: 1,
})
const methods = fc.oneof(
  { weight: 7, arbitrary: fc.constantFrom('GET', 'POST') },
  {
    weight: 3,
    arbitrary: fc.constantFrom('HEAD', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'PROPFIND', 'get', 'X'),
  },
)
const paths = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('/mail/status', '/mail/connect', '/mail/disconnect') },
  { weight: 1, arbitrary: fc.constantFrom('/healthz', '/readyz', '/metrics', '/openapi.json') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      ...[
        '/',
        '*',
        '//',
        '/mail//status',
        '/mail/../healthz',
        '/%',
        '/%00',
        '/mail/status?a=%',
        'http://x/healthz',
        '?',
        '/#',
        '/\\',
      ],
      `/mail/status?access_token=${CANARY}`,
      `/${'x'.repeat(15_000)}`,
    ),
  },
  { weight: 1, arbitrary: fc.webPath().map((path) => `/${path}`) },
)
const headerLines = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.constantFrom(
      `Authorization: Bearer ${JWT}`,
      `Authorization: Bearer ${CANARY}`,
      `Authorization: Basic ${CANARY}`,
      `Cookie: session=${CANARY}`,
      'Content-Type: application/json',
      'Content-Type: application/json; charset=utf-16',
      'Content-Type: text/plain',
      'Content-Encoding: gzip',
      'Content-Length: 0',
      'Content-Length: 5',
      'Content-Length: 65537',
      'Transfer-Encoding: chunked',
      'Expect: 100-continue',
      'Expect: 200-ok',
      'Upgrade: websocket\r\nConnection: Upgrade',
      'Connection: keep-alive',
      'Host: x',
      'Host: [::1]:0',
      'X-Request-Id: ok-1',
      `X-Request-Id: ${'x'.repeat(100)}`,
      'X-Request-Id: a b',
      'X-HTTP-Method-Override: DELETE',
      'X-Forwarded-Host: evil',
      'Accept-Encoding: br, gzip',
      'Range: bytes=0-1',
      'If-None-Match: *',
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'Content-Length: -1',
      'Content-Length: 99999999999',
      'Transfer-Encoding: gzip, chunked',
      'Transfer-Encoding: x',
      'Host: a b',
      `X-Long: ${'y'.repeat(17_000)}`,
      'No colon here',
      ' folded',
      'Bad\u0001Name: x',
      'Bad: \u0000',
    ),
  },
)
const bodies = fc.oneof(
  { weight: 4, arbitrary: fc.constant(GOOD) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      '',
      '{',
      'null',
      '[]',
      '5\r\nhello\r\n0\r\n\r\n',
      'zz\r\n',
      'ffffffffffffffff\r\nx',
      '1;x=y\r\na\r\n0\r\n\r\n',
      '[['.repeat(9_000),
    ),
  },
  { weight: 1, arbitrary: fc.constant(' '.repeat(70_000)) },
  { weight: 1, arbitrary: fc.json() },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes).toString('latin1')) },
)
const floods = fc.integer({ min: 100, max: 3_000 }).map((count) => Array.from({ length: count }, (_, i) => `H${i}: x`))

/** Of any form: lines that a parser may refuse, and bodies that do not fit them. */
const odd = fc
  .record({
    method: methods,
    path: paths,
    version: fc.constantFrom(...Array<string>(12).fill('HTTP/1.1'), 'HTTP/1.0', 'HTTP/2.0', 'http/1.1', ''),
    lines: fc.oneof(
      { weight: 9, arbitrary: fc.array(headerLines, { maxLength: 6 }) },
      { weight: 1, arbitrary: floods },
    ),
    body: bodies,
    host: fc.constantFrom(...Array<string>(8).fill('Host: x'), ''),
    cut: fc.constantFrom(undefined, undefined, undefined, undefined, 0, 3, 40, 90, 200),
  })
  .map(({ method, path, version, lines, body, host, cut }) => {
    const text = [`${method} ${path} ${version}`, ...(host === '' ? [] : [host]), ...lines, '', body]
      .join('\r\n')
      .replaceAll(JWT, jwt)
    return Buffer.from(text, 'latin1').subarray(0, cut)
  })
const TYPE = 'Content-Type: application/json'
const TOKEN = `Authorization: Bearer ${JWT}`
/** As a client library sends it, but for what it asks. */
const fit = fc
  .record({
    method: methods,
    path: paths,
    lines: fc.constantFrom([TYPE, TOKEN], [TYPE, TOKEN], [TYPE, TOKEN], [TYPE], [TOKEN], []),
    body: bodies,
  })
  .map(({ method, path, lines, body }) => {
    const bytes = Buffer.from(body, 'latin1')
    const head = [
      `${method} ${path} HTTP/1.1`,
      'Host: x',
      ...lines,
      `Content-Length: ${bytes.length}`,
      'Connection: close',
      '',
      '',
    ]
    return Buffer.concat([Buffer.from(head.join('\r\n').replaceAll(JWT, jwt), 'latin1'), bytes])
  })
const requests: fc.Arbitrary<Sent> = fc.oneof(
  { weight: 4, arbitrary: fit.map((bytes) => ({ bytes, ends: false })) },
  { weight: 4, arbitrary: odd.map((bytes) => ({ bytes, ends: true })) },
  {
    weight: 1,
    arbitrary: fc.array(odd, { minLength: 2, maxLength: 5 }).map((all) => ({ bytes: Buffer.concat(all), ends: true })),
  },
  {
    weight: 1,
    arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => ({ bytes: Buffer.from(bytes), ends: true })),
  },
)

/** All that the server says until it closes the connection. */
async function exchange({ bytes, ends }: Sent, port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const told: Buffer[] = []
  socket.on('data', (chunk) => told.push(chunk))
  // It may close before it has read all.
  socket.on('error', () => undefined)
  if (ends) socket.end(bytes)
  else socket.write(bytes)
  const closed = new Promise((resolve) => socket.on('close', resolve))
  socket.on('end', () => socket.destroy())
  await closed
  return Buffer.concat(told).toString('latin1')
}

type Outcomes = Record<string, number>

/** @throws AssertionError at what no client may be told */
async function ask(sent: Sent, outcomes: Outcomes, port: number): Promise<void> {
  const told = await exchange(sent, port)
  const statuses = [...told.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
  const shown = (): string => `${sent.bytes.toString('latin1').slice(0, 600)}\n→ ${told.slice(0, 600)}`
  for (const status of statuses) {
    assert.ok(status < 500 || status === 503, shown())
    outcomes[status] = (outcomes[status] ?? 0) + 1
  }
  if (statuses.length === 0) outcomes.closed = (outcomes.closed ?? 0) + 1
  assert.ok(sent.ends || statuses.length > 0, `no answer: ${shown()}`)
  assert.ok(!told.includes(CANARY) && !told.includes(jwt), `a secret in an answer: ${shown()}`)
}

function assertSilent(logged: string[]): void {
  for (const line of logged.splice(0))
    assert.ok(!line.includes(CANARY) && !line.includes(jwt), `a secret in the log: ${line}`)
}

test('random requests over HTTP: no status of 500 or more but 503, no secret is told, the memory stays', async (t) => {
  const outcomes: Outcomes = {}
  const port = Number(new URL(box.url).port)
  let done = 0
  let settledBytes = 0
  for (const chunk of chunks(requests, REQUESTS)) {
    for (let at = 0; at < chunk.length; at += AT_ONCE) {
      await Promise.all(chunk.slice(at, at + AT_ONCE).map((each) => ask(each, outcomes, port)))
      assertSilent(box.logged)
      box.service.seen.length = 0
    }
    done += chunk.length
    // One lives a quarter of an hour.
    jwt = await user.jwt()
    if (settledBytes === 0 && done >= REQUESTS / 2) settledBytes = heapBytes()
  }
  const grown = heapBytes() - settledBytes
  t.diagnostic(`${done} connections, ${grown} bytes more after the second half: ${JSON.stringify(outcomes)}`)
  for (const status of [200, 400, 401, 404, 405, 413, 415, 417, 422, 431])
    assert.ok((outcomes[status] ?? 0) > 0, `${status} did not occur`)
  assert.ok(grown < HEAP_MAX_GROWTH_BYTES, `${grown} bytes`)
  assert.equal((await fetch(`${box.url}/healthz`)).status, 200)
  assert.equal((await fetch(`${box.url}/mail/status`, { headers: { authorization: `Bearer ${jwt}` } })).status, 200)
})

/** What a bridge with a fault would say, and what is thrown then. */
const FAULTY: Record<string, [answer: string, noticed: RegExp]> = {
  'a fault of its own': ['HTTP/1.1 500 Internal Server Error\r\n\r\n', /500 Internal/],
  'one behind a good answer': ['HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 502 Bad Gateway\r\n\r\n', /502 Bad/],
  'a secret in the body': [`HTTP/1.1 400 Bad Request\r\n\r\n{"got":"${CANARY}-a"}`, /a secret in an answer/],
  'a secret in a header': [`HTTP/1.1 200 OK\r\nX: ${CANARY}\r\n\r\n`, /a secret in an answer/],
  'no answer at all': ['', /no answer/],
}

test('control: a status of 500, a secret, or no answer is noticed', async (t) => {
  let says = ''
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(says))
  }).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  for (const [name, [answer, noticed]] of Object.entries(FAULTY)) {
    says = answer
    await assert.rejects(ask({ bytes: Buffer.from('GET / HTTP/1.1\r\n\r\n'), ends: false }, {}, port), noticed, name)
  }
})

test('control: a secret in the log is noticed', () => {
  assert.throws(() => assertSilent(['a line', `{"body":"${CANARY}-r"}`]), /a secret in the log/)
  assert.throws(() => assertSilent([`{"authorization":"Bearer ${jwt}"}`]), /a secret in the log/)
})
