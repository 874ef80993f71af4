/** What `nats micro ls | info | stats` and other tools of NATS find. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Ajv } from 'ajv'
import * as v from 'valibot'
import { CONTRACT } from '#shared/contract.ts'
import { ERRORS, type ErrorBody } from '#shared/errors.ts'
import { INSPECT } from '#shared/inspect.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection, NoRespondersError, RequestError } from '#shared/nats.ts'
import { INSPECTIONS, OPERATIONS } from '#shared/subjects.ts'
import packageJson from '../../../package.json' with { type: 'json' }
import { startNatsServer } from '../../support/nats-server.ts'
import { sandbox } from '../../support/sandbox.ts'

const log = createLog('test', 'silent')
const whole = v.pipe(v.number(), v.integer(), v.minValue(0))
const texts = v.record(v.string(), v.string())
const head = { name: v.literal('mail-sync'), id: v.string(), version: v.literal(packageJson.version), metadata: texts }
/** io.nats.micro.v1.stats_response: what the Go struct of the nats command line reads. */
const Stats = v.object({
  ...head,
  type: v.literal('io.nats.micro.v1.stats_response'),
  started: v.pipe(v.string(), v.isoTimestamp()),
  endpoints: v.array(
    v.object({
      name: v.string(),
      subject: v.string(),
      queue_group: v.picklist(['mail-sync', '']),
      num_requests: whole,
      num_errors: whole,
      last_error: v.string(),
      processing_time: whole,
      average_processing_time: whole,
      data: v.looseObject({ instance: v.literal('a'), in_flight: whole, errors: v.record(v.string(), whole) }),
    }),
  ),
})
const Info = v.object({
  ...head,
  type: v.literal('io.nats.micro.v1.info_response'),
  description: v.string(),
  endpoints: v.array(
    v.object({ name: v.string(), subject: v.string(), queue_group: v.picklist(['mail-sync', '']), metadata: texts }),
  ),
})

test('ping, info and stats are what the tools of NATS expect, and the figures are true', async () => {
  await using box = await sandbox()
  await box.start('a')
  const nc = await box.connection('service')
  const ask = async (verb: string) => (await nc.request(`$SRV.${verb}.mail-sync`, '', { timeout: 3_000 })).json()

  const ping = v.parse(v.object({ ...head, type: v.literal('io.nats.micro.v1.ping_response') }), await ask('PING'))
  assert.deepEqual(Object.keys(ping.metadata), ['instance', 'commit', 'node', 'data', 'trusted', 'docs'])
  assert.deepEqual([ping.metadata.instance, ping.metadata.node], ['a', process.versions.node])
  assert.match(ping.metadata.data ?? '', /^[0-9a-f-]{36}$/, 'the id of the data directory, not its path')
  const info = v.parse(Info, await ask('INFO'))
  assert.deepEqual(info.endpoints.map(({ name }) => name).toSorted(), [
    'as-audit',
    'as-connect',
    'as-disconnect',
    'as-erase',
    'as-quarantine',
    'as-status',
    'as-why',
    'at-audit',
    'at-quarantine',
    'at-status',
    'at-why',
    'connect',
    'disconnect',
    'fleet',
    'rekey',
    'status',
  ])
  // Of those in the queue group one instance answers; of the others every one does.
  assert.deepEqual(
    info.endpoints.flatMap(({ name, queue_group }) => (queue_group === '' ? [name] : [])),
    ['fleet', 'rekey'],
  )
  assert.equal(new Set(info.endpoints.map(({ name }) => name)).size, info.endpoints.length)

  const fresh = v.parse(Stats, await ask('STATS'))
  for (const endpoint of fresh.endpoints) {
    const { num_requests, num_errors, last_error, average_processing_time } = endpoint
    assert.deepEqual([num_requests, num_errors, last_error, average_processing_time], [0, 0, '', 0], endpoint.name)
  }
  for (let i = 0; i < 3; i++) await nc.request('mail.as.ada.status', '{}')
  await nc.request('mail.as.ada.status', '{"x":1}')
  await nc.request('mail.as.=.status', '{}')
  await nc.request('mail.connect', '{}')
  const stats = new Map(v.parse(Stats, await ask('STATS')).endpoints.map((each) => [each.name, each]))
  const [as, connect] = [stats.get('as-status'), stats.get('connect')]
  assert.deepEqual([as?.num_requests, as?.num_errors, as?.last_error], [5, 2, '400:BAD_USER_ID'])
  assert.deepEqual(as?.data.errors, { BAD_REQUEST: 1, BAD_USER_ID: 1 })
  assert.ok((as?.processing_time ?? 0) > 0)
  assert.equal(as?.average_processing_time, Math.round((as?.processing_time ?? 0) / 5))
  assert.deepEqual([connect?.num_requests, connect?.num_errors, connect?.last_error], [1, 1, '401:TOKEN_MISSING'])
})

test('each operation describes itself: route, errors, and schemas that its own examples fit', async () => {
  await using box = await sandbox()
  await box.start('a')
  const nc = await box.connection('service')
  const info = v.parse(Info, (await nc.request('$SRV.INFO.mail-sync', '', { timeout: 3_000 })).json())
  const metadata = new Map(info.endpoints.map((endpoint) => [endpoint.name, endpoint.metadata]))
  for (const name of OPERATIONS) {
    const { http, errors, example } = CONTRACT[name]
    const found = metadata.get(name)
    assert.equal(found?.http, `${http.method} ${http.path}`)
    assert.deepEqual(found?.errors?.split(' '), errors)
    for (const code of found?.errors?.split(' ') ?? []) assert.ok(code in ERRORS, code)
    for (const [kind, value] of [
      ['request_schema', example.request],
      ['response_schema', example.reply],
    ] as const) {
      const schema = JSON.parse(found?.[kind] ?? '')
      assert.equal(schema.$schema, 'http://json-schema.org/draft-07/schema#')
      const validate = new Ajv({ strict: false }).compile(schema)
      assert.ok(validate(value), `${name} ${kind}: ${JSON.stringify(validate.errors)}`)
      assert.ok(!validate(kind === 'request_schema' ? { ...Object(value), user_id: 'ada' } : 'text'))
    }
    assert.deepEqual(metadata.get(`as-${name}`)?.request_schema, found?.request_schema)
  }
  for (const name of INSPECTIONS) {
    const { errors, example } = INSPECT[name]
    const found = metadata.get(`as-${name}`)
    assert.deepEqual([found?.http, found?.errors?.split(' ')], ['', errors])
    for (const [schema, value] of [
      [found?.request_schema, example.request],
      [found?.response_schema, example.reply],
    ]) {
      const validate = new Ajv({ strict: false }).compile(JSON.parse(String(schema)))
      assert.ok(validate(value), `${name}: ${JSON.stringify(validate.errors)}`)
      assert.ok(!validate('text'))
    }
  }
})

/** A process with an endpoint whose operation fails later, and somebody who asks it. */
async function throwing(
  t: TestContext,
  how: 'bare' | 'answered',
): Promise<{ nc: NatsConnection; child: ChildProcess; end: Promise<unknown[]> }> {
  const server = await startNatsServer({ conf: 'open' })
  t.after(() => server[Symbol.asyncDispose]())
  const options = { url: server.url, name: 'test', inboxPrefix: '_INBOX' }
  const nc = await connectNats(options, log, AbortSignal.timeout(10_000))
  t.after(() => drainNats(nc, log))
  const script = join(import.meta.dirname, 'throwing-service.ts')
  const child = spawn(process.execPath, [script, server.url, how], { stdio: ['ignore', 'pipe', 'ignore'] })
  const end = once(child, 'exit')
  await once(child.stdout, 'data')
  return { nc, child, end }
}

test('control: an operation that fails later ends the process where nothing answers for it', async (t) => {
  const { nc, end } = await throwing(t, 'bare')
  await assert.rejects(nc.request('fails', '{}', { timeout: 2_000 }))
  assert.notEqual((await end)[0], 0)
})

test('an operation that fails later is answered', async (t) => {
  const { nc, child: answered, end: answeredEnd } = await throwing(t, 'answered')
  try {
    for (let i = 0; i < 2; i++) {
      const reply = await nc.request('fails', '{}', { timeout: 2_000 })
      assert.equal(reply.json<ErrorBody>().error.code, 'INTERNAL')
      assert.doesNotMatch(reply.string(), /fails later/)
    }
    assert.equal(answered.exitCode, null)
  } finally {
    answered.kill('SIGKILL')
    await answeredEnd
  }
})

test('on a server without users nobody can act for others, unless the operator trusts it', async (t) => {
  for (const trust of ['0', '1']) {
    await using nats = await startNatsServer({ conf: 'open' })
    await using box = await sandbox({ nats, env: { MAIL_TRUST_OPEN_NATS: trust } })
    await box.start('a')
    const nc = await box.connection('service')
    const info = (await nc.request('$SRV.INFO.mail-sync', '', { timeout: 3_000 })).json<v.InferOutput<typeof Info>>()
    const asked = nc.request('mail.as.ada.status', '{}', { timeout: 2_000 })
    if (trust === '1') {
      assert.equal((await asked).json<{ user_id: string }>().user_id, 'ada')
      assert.equal(info.metadata.trusted, 'yes')
      continue
    }
    await assert.rejects(asked, (error) => error instanceof RequestError && error.cause instanceof NoRespondersError)
    assert.equal(info.metadata.trusted, 'no')
    assert.deepEqual(info.endpoints.map(({ name }) => name).toSorted(), [
      'at-status',
      'connect',
      'disconnect',
      'fleet',
      'status',
    ])
    const refused = await nc.request('mail.status', '{}', { timeout: 2_000 })
    assert.equal(refused.json<ErrorBody>().error.code, 'TOKEN_MISSING')
  }
  t.diagnostic('both settings were asked')
})
