import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { serversOf } from '#shared/nats-login.ts'
import { readConfig } from '../../../services/mail/base/config.ts'

const JWKS = 'https://app.example.com/api/auth/jwks'

test('one required name is enough; everything else has the documented default', () => {
  const config = readConfig({ BETTER_AUTH_JWKS_URL: JWKS })
  assert.deepEqual(config.jwt, {
    jwksUrl: JWKS,
    issuer: 'https://app.example.com',
    audience: 'https://app.example.com',
  })
  assert.equal(config.authDbPath, join('data', 'auth.db'))
  assert.deepEqual([config.pace.intervalMs, config.silenceMs, config.outbox.keepMs], [30_000, 6_000, 86_400_000])
  assert.deepEqual(config.stream, {
    retentionDays: 30,
    dedupeWindowMs: 600_000,
    maxBytes: 8 * 1024 ** 3,
    replicas: 1,
  })
  assert.deepEqual(config.clients, { google: null, microsoft: null })
  assert.deepEqual([config.trustOpenNats, config.metrics], [false, null])
})

test('auth.db follows the data folder unless it is named', () => {
  const of = (more: NodeJS.ProcessEnv) => readConfig({ BETTER_AUTH_JWKS_URL: JWKS, ...more }).authDbPath
  assert.equal(of({ MAIL_DATA_DIR: '/srv/mail' }), '/srv/mail/auth.db')
  assert.equal(of({ MAIL_DATA_DIR: '/srv/mail', AUTH_DB_PATH: '/keys/auth.db' }), '/keys/auth.db')
})

test('a quiet mailbox waits eight times as long as another one, unless its longest wait is named', () => {
  const of = (more: NodeJS.ProcessEnv) => readConfig({ BETTER_AUTH_JWKS_URL: JWKS, ...more }).pace
  assert.deepEqual(of({}), { intervalMs: 30_000, intervalMaxMs: 240_000 })
  assert.deepEqual(of({ MAIL_SYNC_INTERVAL_MS: '5000' }), { intervalMs: 5_000, intervalMaxMs: 40_000 })
  assert.deepEqual(of({ MAIL_SYNC_INTERVAL_MAX_MS: '60000' }), { intervalMs: 30_000, intervalMaxMs: 60_000 })
})

test('an empty value counts as unset', () => {
  const config = readConfig({ BETTER_AUTH_JWKS_URL: JWKS, MAIL_SYNC_INTERVAL_MS: '', MAIL_INSTANCE_NAME: '' })
  assert.equal(config.pace.intervalMs, 30_000)
  assert.match(config.instanceName('0123456789abcdef'), /-01234567$/)
})

test('NATS may be several servers, of which each is checked', () => {
  const of = (url: string) => readConfig({ BETTER_AUTH_JWKS_URL: JWKS, NATS_URL: url, MAIL_NATS_REPLICAS: '3' })
  const several = of('nats://a:4222, tls://b:4222,c:4222')
  assert.deepEqual(serversOf(several.nats.url), ['nats://a:4222', 'tls://b:4222', 'c:4222'])
  assert.equal(several.stream.replicas, 3)
  for (const wrong of ['nats://a:4222,', 'nats://a:4222,http://b', 'nats://a:4222,nats://me:secret@b'])
    assert.throws(() => of(wrong), /^ExitError: NATS_URL must be /, wrong)
})

test('all faults are told at once, without the values', () => {
  const source = {
    NATS_URL: 'nats://eve:canary-password@localhost',
    MAIL_SYNC_INTERVAL_MS: '-1',
    MAIL_LEASE_SILENCE_MS: '6s',
    MAIL_TRUST_OPEN_NATS: 'yes',
    MAIL_ON_NEW_STREAM: 'forget',
    MAIL_GMAIL_BASE_URL: 'http://evil.example.com',
  }
  assert.throws(
    () => readConfig(source),
    (error: Error & { exitCode?: number }) => {
      assert.equal(error.exitCode, 78)
      const lines = error.message.split('\n')
      assert.equal(lines.length, 7, error.message)
      for (const name of [...Object.keys(source), 'BETTER_AUTH_JWKS_URL'])
        assert.ok(
          lines.some((line) => line.startsWith(`${name} `)),
          name,
        )
      assert.doesNotMatch(error.message, /canary|evil|6s|forget/)
      return true
    },
  )
})

test('secrets of the configuration do not print', () => {
  const config = readConfig({
    BETTER_AUTH_JWKS_URL: JWKS,
    NATS_PASSWORD: 'canary-1',
    GOOGLE_CLIENT_ID: 'id',
    GOOGLE_CLIENT_SECRET: 'canary-2',
    MAIL_TOKEN_KEYS: 'canary-3',
  })
  assert.doesNotMatch(JSON.stringify(config), /canary/)
})
