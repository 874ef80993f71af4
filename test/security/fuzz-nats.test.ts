/**
 * Threats T2, T4 and T11 over NATS: random and mutated requests, headers that no client library would send, to a whole
 * instance. Each is answered with what the contract says or with a code of the closed list; nothing of a secret is told.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { pino } from 'pino'
import { ERRORS, type ErrorBody, isErrorCode } from '#shared/errors.ts'
import { describeError } from '#shared/log.ts'
import {
  HEADER_AUTHORIZATION,
  HEADER_ERROR_CODE,
  HEADER_REQUEST_ID,
  HEADER_USER,
  INSPECTIONS,
  OPERATIONS,
  SRV_INFO,
} from '#shared/subjects.ts'
import { createSigner, startIssuer } from '../shared/issuer.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { cases, chunks, heapBytes } from './amount.ts'
import { RawNats, type RawReply } from './raw-nats.ts'

const REQUESTS = cases(3_000, 50_000)
const AT_ONCE = 25
const HEAP_MAX_GROWTH_BYTES = 32 * 1024 ** 2
const CANARY = 'canary-5d0e'

const ASKED = [...OPERATIONS, ...INSPECTIONS]
const asUsers = (users: string[]): string[] => users.flatMap((user) => ASKED.map((name) => `mail.as.${user}.${name}`))
/** @param address of the instance, where the others ask it */
const subjectsOf = (address: string) =>
  fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('mail.connect', 'mail.status', 'mail.disconnect') },
    { weight: 1, arbitrary: fc.constantFrom('mail.fleet', 'mail.rekey') },
    { weight: 4, arbitrary: fc.constantFrom(...asUsers(['ada', 'fuzz'])) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(...['status', ...INSPECTIONS].map((name) => `mail.at.${address}.${name}`)),
    },
    { weight: 1, arbitrary: fc.constantFrom(...asUsers(['=41da', 'a=2', '=C3', 'x'.repeat(181)])) },
  )
const GOOD: Record<string, unknown>[] = [
  {
    provider: 'google',
    access_token: `${CANARY}-a`,
    refresh_token: `${CANARY}-r`,
    expires_in: 3_600,
    inbox_id: 'work',
  },
  { provider: 'microsoft', access_token: `${CANARY}-a`, refresh_token: `${CANARY}-r`, expires_in: 0 },
  { provider: 'google', inbox_id: 'work' },
  { message_id: 'm1', provider: 'google' },
  {},
]
const ODD: unknown[] = [
  null,
  '',
  -1,
  1e308,
  true,
  [],
  {},
  'google',
  '\u0000',
  '__proto__',
  'x'.repeat(9_000),
  `${CANARY}-odd`,
]

type Ask = { subject: string; block: Buffer | null; payload: Buffer }

const mutated = fc
  .record({
    good: fc.constantFrom(...GOOD),
    key: fc.constantFrom('provider', 'inbox_id', 'expires_in', 'access_token', 'x'),
    odd: fc.option(fc.constantFrom(...ODD)),
  })
  .map(({ good, key, odd }) => Buffer.from(JSON.stringify(odd === null ? good : { ...good, [key]: odd })))
const payloads: fc.Arbitrary<Buffer> = fc.oneof(
  { weight: 6, arbitrary: mutated },
  { weight: 2, arbitrary: fc.json().map((text) => Buffer.from(text)) },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('', '   ', '{', '[['.repeat(20_000), '{"a":'.repeat(9_000))
      .map((text) => Buffer.from(text)),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 65_000, max: 66_000 }).map((size) => Buffer.from(`{${' '.repeat(size)}}`)),
  },
)
const names = fc.constantFrom(
  HEADER_AUTHORIZATION,
  HEADER_AUTHORIZATION.toLowerCase(),
  HEADER_REQUEST_ID,
  HEADER_USER,
  'X',
  '',
  'a b',
  'ä',
  '\u0001',
  ':',
)
const values = fc.oneof(
  fc.constantFrom(
    '',
    'Bearer ',
    `Bearer ${CANARY}`,
    'Bearer a.b.c',
    'x\ry',
    'x\ny',
    '\u0000',
    'x'.repeat(9_000),
    'id-1',
    'ada',
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
)
/** `jwt`: the place of a good token, which the test puts there. */
const blocks = fc.oneof(
  { weight: 2, arbitrary: fc.constant(null) },
  { weight: 5, arbitrary: fc.constant(`NATS/1.0\r\n${HEADER_AUTHORIZATION}: jwt\r\n\r\n`) },
  {
    weight: 3,
    arbitrary: fc
      .array(fc.tuple(names, values), { maxLength: 5 })
      .map((lines) => `NATS/1.0\r\n${lines.map((line) => line.join(': ')).join('\r\n')}\r\n\r\n`),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 60 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'NATS/1.0',
      'NATS/1.0 503\r\n\r\n',
      'NATS/1.0 404 No Messages\r\n\r\n',
      'HTTP/1.1\r\n\r\n',
      '\r\n'.repeat(500),
    ),
  },
)
const asks = (jwt: string, address: string): fc.Arbitrary<Ask> =>
  fc.record({ subject: subjectsOf(address), block: blocks, payload: payloads }).map(({ subject, block, payload }) => ({
    subject,
    payload,
    block: block === null ? null : Buffer.from(block.replace(': jwt', `: Bearer ${jwt}`)),
  }))

type Outcomes = Record<string, number>

/** The code of a refusal, or `ok`. */
function outcomeOf({ headers, data }: RawReply): string {
  const body = JSON.parse(data.toString()) as ErrorBody
  const status = new RegExp(`^${HEADER_ERROR_CODE}: (\\d+)`, 'm').exec(headers)?.[1]
  if (status === undefined) return 'ok'
  const { code, message, hint, request_id } = body.error
  assert.ok(isErrorCode(code), code)
  assert.deepEqual([message, hint, Number(status)], [ERRORS[code].message, ERRORS[code].hint, ERRORS[code].status])
  assert.match(request_id, /^[\w.:-]{1,64}$/)
  assert.ok(ERRORS[code].status < 500 || ERRORS[code].status === 503, `${code} ${JSON.stringify(body.error.details)}`)
  return code
}

async function ask(raw: RawNats, { subject, block, payload }: Ask, outcomes: Outcomes): Promise<void> {
  const reply = await raw.request(subject, block, payload)
  try {
    const outcome = outcomeOf(reply)
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    assert.ok(!reply.data.includes(CANARY) && !reply.headers.includes(CANARY), 'a secret in an answer')
  } catch (error) {
    const shown = {
      subject,
      block: block?.toString('latin1').slice(0, 300),
      payload: payload.toString('latin1').slice(0, 300),
    }
    throw new Error(`${JSON.stringify(shown)} → ${reply.headers}${reply.data}`, { cause: error })
  }
}

const stack = new AsyncDisposableStack()
const leaks: string[] = []
let box: Sandbox
let raw: RawNats
let jwt: string

/** A whole instance on a server where one client may ask for everything; what it logs is searched for the secret. */
before(async () => {
  const signer = await createSigner('key-1')
  const issuer = stack.use(await startIssuer([signer.jwk]))
  const nats = stack.use(await startNatsServer({ conf: 'open' }))
  const env = {
    BETTER_AUTH_JWKS_URL: issuer.jwksUrl,
    MAIL_USER_REQUESTS_PER_MIN: '1000000',
    MAIL_USER_CONNECTS_PER_MIN: '1000000',
  }
  box = stack.use(await sandbox({ nats, env }))
  const write = (line: string): void => {
    if (line.includes(CANARY)) leaks.push(line)
  }
  await box.start('a', { log: pino({ level: 'debug', serializers: { err: describeError } }, { write }) })
  raw = stack.use(await RawNats.connect(nats.url))
  const exp = Math.floor(Date.now() / 1_000) + 86_400
  jwt = await signer.sign({ iss: issuer.url, aud: issuer.url, sub: 'fuzz', exp })
})
after(() => stack.disposeAsync())

const BARE = Buffer.alloc(0)
const refusal = async (block: string) => {
  const { error } = JSON.parse(
    (await raw.request('mail.as.ada.status', Buffer.from(block), BARE)).data.toString(),
  ) as ErrorBody
  return { code: error.code, details: error.details }
}

test('headers that the client library cannot read are refused, and so are more than it can read in time', async () => {
  for (const line of ['a b: x', 'ä: x', 'x: a\rb', 'x: a\nb', `${HEADER_AUTHORIZATION}: a\rb`])
    assert.equal((await refusal(`NATS/1.0\r\n${line}\r\n\r\n`)).code, 'BAD_REQUEST', line)
  const many = (count: number) =>
    `NATS/1.0\r\n${Array.from({ length: count }, (_, i) => `${i.toString(36)}:`).join('\r\n')}\r\n\r\n`
  assert.deepEqual(await refusal(many(150_000)), { code: 'TOO_LARGE', details: { headers_max_bytes: 16_384 } })
  assert.deepEqual(await refusal(`NATS/1.0\r\nx: ${'y'.repeat(900_000)}\r\n\r\n`), {
    code: 'TOO_LARGE',
    details: { headers_max_bytes: 16_384 },
  })
  assert.deepEqual(await refusal(many(100)), { code: 'TOO_LARGE', details: { headers_max: 64 } })
  const { data } = await raw.request('mail.as.ada.status', Buffer.from(many(60)), BARE)
  assert.equal(JSON.parse(data.toString()).user_id, 'ada')
})

test('random requests over NATS: each is answered as the contract says, no secret is told, the memory stays', async (t) => {
  const nc = await box.connection('service')
  await box.connect(nc, 'ada', 'google', { n: 5 })
  await box.allLive(nc, ['ada'])
  const info = (await nc.request(SRV_INFO, '')).json<{ endpoints: { name: string; subject: string }[] }>()
  const address = info.endpoints.find(({ name }) => name === 'at-status')?.subject.split('.')[2] ?? assert.fail()
  const outcomes: Outcomes = {}
  let done = 0
  let settledBytes = 0
  for (const chunk of chunks(asks(jwt, address), REQUESTS)) {
    for (let at = 0; at < chunk.length; at += AT_ONCE)
      await Promise.all(chunk.slice(at, at + AT_ONCE).map((each) => ask(raw, each, outcomes)))
    done += chunk.length
    if (settledBytes === 0 && done >= REQUESTS / 2) settledBytes = heapBytes()
  }
  const grown = heapBytes() - settledBytes
  t.diagnostic(`${done} requests over NATS, ${grown} bytes more after the second half: ${JSON.stringify(outcomes)}`)
  assert.deepEqual(leaks.slice(0, 3), [], 'a secret in the log')
  assert.ok(grown < HEAP_MAX_GROWTH_BYTES, `${grown} bytes`)
  for (const code of [
    'ok',
    'BAD_JSON',
    'BAD_REQUEST',
    'BAD_USER_ID',
    'TOO_LARGE',
    'TOKEN_MISSING',
    'TOKEN_NOT_A_JWT',
    'CREDENTIAL_REFUSED',
  ])
    assert.ok((outcomes[code] ?? 0) > 0, `${code} did not occur`)
  assert.equal((await box.status(nc, 'ada')).user_id, 'ada')
})
