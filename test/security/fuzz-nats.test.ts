/**
 * Threats T2, T4 and T11 over NATS: random and mutated requests, headers that no client library would send, to a whole
 * instance. Each is answered with what the contract says or with a code of the closed list; nothing of a secret is told.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { AppError, ERRORS, type ErrorBody, errorBody, isErrorCode } from '#shared/errors.ts'
import { describeError } from '#shared/log.ts'
import { headers } from '#shared/nats.ts'
import { HEADER_AUTHORIZATION, HEADER_ERROR_CODE, SRV_INFO } from '#shared/subjects.ts'
import { createSigner, startIssuer } from '../shared/issuer.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { cases, chunks, heapBytes } from './amount.ts'
import { type Ask, asks, CANARY } from './nats-requests.ts'
import { RawNats, type RawReply } from './raw-nats.ts'

const REQUESTS = cases(3_000, 50_000)
const AT_ONCE = 25
const HEAP_MAX_GROWTH_BYTES = 32 * 1024 ** 2

type Outcomes = Record<string, number>

/** The code of a refusal, or `ok`. */
function outcomeOf({ headers: block, data }: RawReply): string {
  const body = JSON.parse(data.toString()) as ErrorBody
  const status = new RegExp(`^${HEADER_ERROR_CODE}: (\\d+)`, 'm').exec(block)?.[1]
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
  for (const user of ['ada', 'eve']) await box.connect(nc, user, 'google', { n: 5 })
  await box.allLive(nc, ['ada', 'eve'])
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
    'OTHER_MAILBOXES_CONNECTED',
  ])
    assert.ok((outcomes[code] ?? 0) > 0, `${code} did not occur`)
  const connected = await Promise.all(['ada', 'eve'].map(async (user) => (await box.status(nc, user)).accounts.length))
  assert.deepEqual(connected, [1, 0], 'who was to be erased is, and nobody else')
})

const errorOf = (code: string, more: object = {}): string =>
  JSON.stringify({ error: { code, message: 'x', hint: 'x', details: {}, request_id: 'id-1', ...more } })
/** What an endpoint with a fault would answer. */
const FAULTY: Record<string, [data: string, status: string | null]> = {
  'a code that is not on the list': [errorOf('OTHER'), '400'],
  'another message than that of the code': [errorOf('BAD_JSON'), '400'],
  'a fault of its own': [JSON.stringify(errorBody(new AppError('INTERNAL'), 'id-1')), '500'],
  'a status that is not that of the code': [JSON.stringify(errorBody(new AppError('BAD_JSON'), 'id-1')), '404'],
  'a secret': [`{"user_id":"${CANARY}"}`, null],
  'no JSON': ['fault', null],
}

test('control: an answer that is not by the contract is noticed', async () => {
  const nc = await box.connection('service')
  for (const [name, [data, status]] of Object.entries(FAULTY)) {
    const answers = nc.subscribe('planted', {
      callback(_error, message) {
        const hdrs = headers()
        if (status !== null) hdrs.set(HEADER_ERROR_CODE, status)
        message.respond(data, { headers: hdrs })
      },
    })
    await nc.flush()
    await assert.rejects(ask(raw, { subject: 'planted', block: null, payload: BARE }, {}), name)
    answers.unsubscribe()
  }
})
