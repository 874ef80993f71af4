/** Bad requests over NATS and over HTTP to the real service: the documented error, nothing changed, nothing told. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Kvm } from '@nats-io/kv'
import { pino } from 'pino'
import { ERRORS, type ErrorBody, type ErrorCode, type ErrorDetails } from '#shared/errors.ts'
import { describeError } from '#shared/log.ts'
import { headers, type Msg, type NatsConnection } from '#shared/nats.ts'
import {
  asSubject,
  BUCKET_ACCOUNTS,
  BUCKET_STATE,
  bucketStream,
  EVENT_STREAM,
  HEADER_AUTHORIZATION,
  HEADER_ERROR,
  HEADER_ERROR_CODE,
  OPERATIONS,
  type OperationName,
  requestSubject,
} from '#shared/subjects.ts'
import { runBridge } from '../../../services/http/app.ts'
import { readHttpConfig } from '../../../services/http/config.ts'
import { createSigner, type Signer, startIssuer, type TestIssuer } from '../../shared/issuer.ts'
import type { InstanceProcess } from '../../support/instance.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { lastSeq } from '../acceptance/support.ts'
import { BODY, CANARY, type Hostile, hostileRequests, KEY_CANARY } from './hostile.ts'

const OF_BODY = /^(BAD_JSON|BAD_REQUEST|TOO_LARGE)$/
const stack = new AsyncDisposableStack()
const answers: string[] = []
const bridgeLog: string[] = []
let box: Sandbox
let issuer: TestIssuer
let signer: Signer
let instance: InstanceProcess
let service: NatsConnection
let bridge: string
let hostile: Record<OperationName, Hostile[]>
/** The details that each bad request was told over NATS. */
const told = new Map<string, ErrorDetails>()

before(async () => {
  signer = await createSigner('key-1')
  issuer = stack.use(await startIssuer([signer.jwk]))
  const thief = await createSigner('key-1')
  const listOf = (operation: OperationName) => hostileRequests(issuer.url, signer, thief, operation)
  hostile = { connect: await listOf('connect'), disconnect: await listOf('disconnect'), status: await listOf('status') }
  box = stack.use(
    await sandbox({
      env: { BETTER_AUTH_JWKS_URL: issuer.jwksUrl, MAIL_LOG_LEVEL: 'debug', MAIL_USER_CONNECTS_PER_MIN: '10000' },
    }),
  )
  instance = await box.spawn('a')
  service = await box.connection('service')
  await box.connect(service, 'ada', 'google', { n: 5 })
  await box.allLive(service, ['ada'])
  bridge = await startBridge()
})
after(() => stack.disposeAsync())

async function startBridge(): Promise<string> {
  const stop = new AbortController()
  const listening = Promise.withResolvers<string>()
  const env = { ...box.env('bridge'), NATS_USER: 'bridge', NATS_PASSWORD: box.nats.passwords.bridge, HTTP_PORT: '0' }
  const log = pino({ level: 'debug', serializers: { err: describeError } }, { write: (line) => bridgeLog.push(line) })
  const running = runBridge(readHttpConfig(env), log, stop.signal, listening.resolve)
  running.catch(listening.reject)
  stack.defer(async () => {
    stop.abort()
    await running
  })
  return await listening.promise
}

/** All that a request could have changed. */
async function facts(): Promise<unknown> {
  const ops = await box.connection('ops')
  const files = readdirSync(join(box.dir, 'a')).filter((name) => name.startsWith('auth.db'))
  const hash = (name: string) =>
    createHash('sha256')
      .update(readFileSync(join(box.dir, 'a', name)))
      .digest('hex')
  // Whose, not how often: the owner writes its checkpoints by itself.
  const checkpointed: string[] = []
  for await (const key of await (await new Kvm(ops).open(BUCKET_STATE)).keys()) checkpointed.push(key)
  return {
    accounts: await lastSeq(ops, bucketStream(BUCKET_ACCOUNTS)),
    checkpointed,
    events: await lastSeq(ops, EVENT_STREAM),
    auth: Object.fromEntries(files.filter((name) => !name.endsWith('-shm')).map((name) => [name, hash(name)])),
    users: readdirSync(join(box.dir, 'a', 'users')),
  }
}

function assertError(body: ErrorBody, code: ErrorCode, name: string): void {
  assert.deepEqual(Object.keys(body), ['error'], name)
  assert.deepEqual(Object.keys(body.error), ['code', 'message', 'hint', 'details', 'request_id'], name)
  assert.equal(body.error.code, code, `${name}: ${JSON.stringify(body.error)}`)
  const { message, hint } = ERRORS[code]
  assert.deepEqual([body.error.message, body.error.hint], [message, hint], name)
  assert.match(body.error.request_id, /^[\w.:-]{1,64}$/, name)
}
function assertRefused(reply: Msg, code: ErrorCode, name: string): void {
  answers.push(reply.string())
  assertError(reply.json<ErrorBody>(), code, name)
  assert.equal(reply.headers?.get(HEADER_ERROR_CODE), String(ERRORS[code].status), name)
  assert.equal(reply.headers?.get(HEADER_ERROR), `${code}: ${ERRORS[code].message}`, name)
}
async function askNats(subject: string, body: Uint8Array, authorization?: string, nc = service): Promise<Msg> {
  const hdrs = headers()
  if (authorization !== undefined) hdrs.set(HEADER_AUTHORIZATION, authorization)
  return await nc.request(subject, body, { headers: hdrs, timeout: 3_000 })
}
async function askHttp(path: string, init: RequestInit): Promise<{ status: number; body: ErrorBody }> {
  const answer = await fetch(bridge + path, { ...init, signal: AbortSignal.timeout(5_000) })
  const text = await answer.text()
  answers.push(text)
  return { status: answer.status, body: JSON.parse(text) as ErrorBody }
}

/** Without what grows while the test runs. */
const timeless = ({ expired_s_ago: _passed, ...details }: ErrorDetails): ErrorDetails => details

test('over NATS each bad request gets its documented error and changes nothing', async () => {
  const was = await facts()
  for (const operation of OPERATIONS)
    for (const { name, authorization, body, code } of hostile[operation]) {
      const reply = await askNats(requestSubject(operation), body, authorization)
      assertRefused(reply, code, `${operation}: ${name}`)
      told.set(`${operation}: ${name}`, timeless(reply.json<ErrorBody>().error.details))
    }
  assert.deepEqual(await facts(), was)
})

test('over NATS a status needs no body', async () => {
  const status = await askNats(asSubject('ada', 'status'), new Uint8Array())
  assert.equal(status.json<{ user_id: string }>().user_id, 'ada')
})

test('over HTTP each bad request gets the same error with the same details, and changes nothing', async () => {
  const was = await facts()
  for (const operation of ['connect', 'disconnect'] as const)
    for (const { name, authorization, body, code } of hostile[operation]) {
      const { status, body: answer } = await askHttp(`/mail/${operation}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(authorization === undefined ? {} : { authorization }) },
        body,
      })
      assertError(answer, code, name)
      assert.equal(status, ERRORS[code].status, name)
      assert.deepEqual(timeless(answer.error.details), told.get(`${operation}: ${name}`), `${operation}: ${name}`)
    }
  assert.deepEqual(await facts(), was)
})

test('over HTTP, routes, methods and types that do not exist get their error', async () => {
  const json = { 'content-type': 'application/json' }
  const now = Math.floor(Date.now() / 1000)
  const jwt = await signer.sign({ iss: issuer.url, aud: issuer.url, sub: 'mallory', exp: now + 600 })
  const authorization = `Bearer ${jwt}`
  const body = JSON.stringify(BODY)
  const cases: [string, RequestInit, ErrorCode][] = [
    [
      '/mail/connect',
      { method: 'POST', headers: { 'content-type': 'text/plain', authorization }, body },
      'UNSUPPORTED_MEDIA_TYPE',
    ],
    ['/mail/connect', { method: 'PUT', headers: json, body }, 'METHOD_NOT_ALLOWED'],
    ['/mail/connect', {}, 'METHOD_NOT_ALLOWED'],
    ['/mail/status', { method: 'POST', headers: json, body: '{}' }, 'METHOD_NOT_ALLOWED'],
    ['/mail/status?user_id=ada', { headers: { authorization } }, 'BAD_REQUEST'],
    ['/mail/erase', { method: 'POST', headers: json, body }, 'NOT_FOUND'],
    ['/mail/as/ada/status', { headers: { authorization } }, 'NOT_FOUND'],
  ]
  const was = await facts()
  for (const [path, init, code] of cases) {
    const { status, body: answer } = await askHttp(path, init)
    assertError(answer, code, path)
    assert.equal(status, ERRORS[code].status, path)
  }
  assert.deepEqual(await facts(), was)
})

test('for trusted services the user in the subject must be a canonical token, and the body is checked the same', async () => {
  const was = await facts()
  for (const user of ['=41da', 'a=2', 'a=2e', '=C3', 'a'.repeat(181), 'ada=', 'ä'])
    for (const operation of ['connect', 'status', 'disconnect'])
      assertRefused(
        await askNats(`mail.as.${user}.${operation}`, Buffer.from(JSON.stringify(BODY))),
        'BAD_USER_ID',
        `${user} ${operation}`,
      )
  for (const operation of OPERATIONS)
    for (const { name, body, code } of hostile[operation].filter(({ code }) => OF_BODY.test(code)))
      assertRefused(await askNats(asSubject('mallory', operation), body), code, `${operation}: ${name}`)
  assert.deepEqual(await facts(), was)
})

test('a NATS user without the permission cannot act for anybody, nor ask an instance directly', async () => {
  const was = await facts()
  const body = Buffer.from(JSON.stringify(BODY))
  const address = await addressOf()
  for (const role of ['bridge', 'consumer'] as const) {
    const nc = await box.connection(role)
    for (const subject of [asSubject('ada', 'connect'), asSubject('ada', 'disconnect'), `mail.at.${address}.status`])
      await assert.rejects(askNats(subject, body, undefined, nc), /permissions violation/i, `${role} ${subject}`)
  }
  await assert.rejects(askNats(`mail.at.${address}.status`, Buffer.from('ada')), /permissions violation/i)
  assert.deepEqual(await facts(), was)
})

async function addressOf(): Promise<string> {
  const info = (await (await box.connection('ops')).request('$SRV.INFO.mail-sync', '', { timeout: 2_000 })).json<{
    endpoints: { name: string; subject: string }[]
  }>()
  return info.endpoints.find(({ name }) => name === 'at-status')?.subject.split('.')[2] ?? ''
}

test('after all that the service lives, has counted each refusal, and no secret stands in an answer, a log or a figure', async () => {
  const stats = await service.request('$SRV.STATS.mail-sync', '', { timeout: 3_000 })
  const endpoints = stats.json<{ endpoints: { name: string; num_requests: number; num_errors: number }[] }>().endpoints
  const connect = endpoints.find(({ name }) => name === 'connect')
  // What the bridge refused by itself never got here.
  assert.ok((connect?.num_errors ?? 0) >= hostile.connect.length)
  assert.equal(connect?.num_errors, connect?.num_requests)
  assert.equal((await box.status(service, 'ada')).accounts[0]?.state, 'live')
  const shown = { answers, instance: instance.lines, bridge: bridgeLog, stats: [stats.string()] }
  const long = Object.values(hostile).flatMap((list) => list.filter(({ authorization: a = '' }) => a.length > 100))
  for (const [where, texts] of Object.entries(shown)) {
    assert.ok(texts.length > 0, where)
    for (const text of texts) {
      assert.ok(!text.includes(CANARY), `${where}: ${text.slice(0, 300)}`)
      assert.ok(where === 'answers' || !text.includes(KEY_CANARY), `${where}: ${text.slice(0, 300)}`)
    }
    for (const { name, authorization = '' } of long)
      assert.ok(!texts.some((text) => text.includes(authorization.slice(-60))), `${where} shows the token of: ${name}`)
  }
})
