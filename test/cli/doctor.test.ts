import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DiscardPolicy, jetstreamManager, StorageType, type StreamConfig } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import {
  ACCOUNTS_HISTORY,
  BUCKET_ACCOUNTS,
  BUCKET_LEASES,
  BUCKET_STATE,
  EVENT_STREAM,
  EVENT_STREAM_SUBJECT,
} from '#shared/subjects.ts'
import { startBetterAuth } from '../support/better-auth.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { cliBox } from './cli-box.ts'
import { mailctl } from './mailctl.ts'

const CLIENTS = {
  GOOGLE_CLIENT_ID: 'g',
  GOOGLE_CLIENT_SECRET: 'canary-1',
  MICROSOFT_CLIENT_ID: 'm',
  MICROSOFT_CLIENT_SECRET: 'canary-2',
}
const STREAM = {
  name: EVENT_STREAM,
  subjects: [EVENT_STREAM_SUBJECT],
  storage: StorageType.File,
  discard: DiscardPolicy.New,
  allow_direct: true,
  deny_delete: false,
  max_age: 30 * 86_400_000_000_000,
  max_bytes: 8 * 1024 ** 3,
  duplicate_window: 600_000 * 1_000_000,
} satisfies Partial<StreamConfig>

test('with everything in place each check passes, and no secret is shown', async () => {
  await using box = await cliBox()
  await using auth = await startBetterAuth()
  const nc = await box.connect('ops')
  await (await jetstreamManager(nc)).streams.add(STREAM)
  for (const bucket of [BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE])
    await new Kvm(nc).create(bucket, { history: bucket === BUCKET_ACCOUNTS ? ACCOUNTS_HISTORY : 1 })
  const ran = await mailctl(['doctor'], box.env('ops', { ...CLIENTS, BETTER_AUTH_JWKS_URL: auth.jwksUrl }))
  assert.equal(ran.code, 0, ran.out + ran.err)
  for (const line of ran.out.trimEnd().split('\n')) assert.match(line, /^✔ /)
  for (const fact of [
    /Node \d/,
    /NATS at nats:.* as ops/,
    /nats-server 2\./,
    /JetStream is on/,
    /permissions decide/,
    /stream EMAIL_EVENTS: 0 messages/,
    /stream KV_mail_leases/,
    /1 instance\(s\) answer, version 0\.1\.0/,
    /GOOGLE_CLIENT_ID/,
    /has 1 key|has 0 key/,
    /clocks .* agree/,
  ])
    assert.match(ran.out, fact)
  assert.doesNotMatch(ran.out + ran.err, /canary/)
})

test('each thing that is missing or different is one line with its remedy, and the exit code is 1', async () => {
  await using box = await cliBox()
  await box.service.stop()
  const nc = await box.connect('ops')
  await (await jetstreamManager(nc)).streams.add({ ...STREAM, discard: DiscardPolicy.Old })
  const ran = await mailctl(['doctor'], box.env('ops', { BETTER_AUTH_JWKS_URL: 'http://127.0.0.1:1/jwks' }))
  assert.equal(ran.code, 1)
  assert.match(ran.out, /^✖ stream EMAIL_EVENTS: discard is "old", not "new" → /m)
  assert.match(ran.out, /^✖ stream KV_mail_accounts is missing → /m)
  assert.match(ran.out, /^✖ no instance answers → start one/m)
  assert.match(ran.out, /^• GOOGLE_CLIENT_ID is not set here → /m)
  assert.match(ran.out, /^✖ http:\/\/127\.0\.0\.1:1\/jwks cannot be reached → /m)
  const json = await mailctl(['doctor', '--json'], box.env('ops'))
  const findings = JSON.parse(json.out) as { state: string; text: string; remedy?: string }[]
  assert.equal(json.code, 1)
  for (const { state, remedy } of findings) assert.equal(remedy !== undefined, state !== 'ok')
})

test('a malformed variable is a failed check like any other, and its value is not repeated', async () => {
  const malformed = { NATS_URL: 'nats://me:hunter2@localhost', BETTER_AUTH_JWKS_URL: 'foo' }
  const ran = await mailctl(['doctor'], malformed)
  assert.deepEqual([ran.code, ran.err], [1, ''])
  assert.match(ran.out, /^✔ Node \d/m)
  assert.match(ran.out, /^✖ NATS_URL is malformed → it must be a URL without user and password/m)
  assert.match(ran.out, /^✖ BETTER_AUTH_JWKS_URL is malformed → it must be an https URL/m)
  assert.match(ran.out, /^• the other checks were left out/m)
  assert.doesNotMatch(ran.out, /hunter2/)
  const json = await mailctl(['doctor', '--json'], malformed)
  const findings = JSON.parse(json.out) as { state: string; text: string }[]
  assert.equal(json.code, 1)
  assert.equal(findings.filter(({ state }) => state === 'failed').length, 2)
})

test('what the NATS user may not see is said, not failed', async () => {
  await using box = await cliBox()
  await using auth = await startBetterAuth()
  const ran = await mailctl(['doctor'], box.env('service', { BETTER_AUTH_JWKS_URL: auth.jwksUrl }))
  assert.equal(ran.code, 0, ran.out)
  assert.match(ran.out, /^• stream EMAIL_EVENTS: this NATS user may not look → run doctor with NATS_USER=ops/m)
})

test('an open server is pointed out, an unreachable one fails', async () => {
  await using open = await startNatsServer({ conf: 'open' })
  assert.match((await mailctl(['doctor'], { NATS_URL: open.url })).out, /^• NATS is open: .* → use nats\.conf/m)
  const away = await mailctl(['doctor'], { NATS_URL: 'nats://127.0.0.1:1' })
  assert.equal(away.code, 1)
  assert.match(away.out, /^✖ NATS at nats:\/\/127\.0\.0\.1:1 → cannot reach NATS/m)
})
