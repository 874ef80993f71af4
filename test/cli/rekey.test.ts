/** `mailctl rekey` over real instances: what it prints, when it refuses, and who may ask. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { Kvm } from '@nats-io/kv'
import { ExitError } from '#shared/lifecycle.ts'
import { type NatsConnection, NoRespondersError, PermissionViolationError, RequestError } from '#shared/nats.ts'
import type { RekeyReply } from '#shared/rekey.ts'
import { accountKey, BUCKET_ACCOUNTS, REKEY_SUBJECT, SRV_STATS } from '#shared/subjects.ts'
import { type NatsRole, startNatsServer } from '../support/nats-server.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { mailctl, type Ran } from './mailctl.ts'

const USERS = ['ada', 'grace', 'joan']
const key = (kid: string): string => `${kid}:${randomBytes(32).toString('base64url')}`
const [OLD, NEW] = [key('old'), key('new')]

const run = (box: Sandbox, args: string[] = [], role: NatsRole = 'service'): Promise<Ran> =>
  mailctl(['rekey', ...args], {
    NATS_URL: box.nats.url,
    NATS_USER: role,
    NATS_PASSWORD: box.nats.passwords[role],
    NO_COLOR: '1',
  })
const withKeys = (...keys: string[]) => ({ env: { MAIL_TOKEN_KEYS: keys.join(',') } })
type Shown = { active: string[]; left: number; removable: string[]; instances: RekeyReply[] }
const shown = (ran: Ran): Shown => JSON.parse(ran.out)

async function metricsOf(nc: NatsConnection, prefix: string): Promise<Record<string, number>> {
  const stats = await nc.request(SRV_STATS, '', { timeout: 5_000 })
  const { endpoints } = stats.json<{ endpoints: { name: string; data: { metrics?: Record<string, number> } }[] }>()
  const metrics = endpoints.find(({ name }) => name === 'status')?.data.metrics ?? {}
  return Object.fromEntries(Object.entries(metrics).filter(([name]) => name.startsWith(prefix)))
}

test('the key is changed while mail is synced: rows of each key are counted, and the old key can go', async () => {
  await using box = await sandbox()
  const nc = await box.connection('service')
  const before = [await box.start('a', withKeys(OLD)), await box.start('b', withKeys(OLD))]
  for (const user of USERS) await box.connect(nc, user, 'google', { n: 3 })
  await box.allLive(nc, USERS)
  for (const one of before) await one.stop()

  const a = await box.start('a', withKeys(NEW, OLD))
  const b = await box.start('b', withKeys(OLD, NEW))
  const mixed = await run(box)
  assert.equal(mixed.code, 1)
  assert.match(mixed.err, /seal with different keys \(a: new, b: old\)/)
  const counted = shown(await run(box, ['--show', '--json']))
  assert.deepEqual([counted.active, counted.removable], [['new', 'old'], []])
  await b.stop()
  await box.start('b', withKeys(NEW, OLD))

  const ran = await run(box)
  assert.deepEqual([ran.code, ran.err], [0, ''])
  assert.match(ran.out, /^key +accounts +auth\.db of a +auth\.db of b\nnew +seals +3 +3 +3\nold +0 +0 +0\n/)
  assert.match(ran.out, /^old: no row needs it; it can be removed/m)
  const again = shown(await run(box, ['--json']))
  assert.deepEqual([again.active, again.left, again.removable], [['new'], 0, ['old']])
  for (const { rows } of again.instances) {
    assert.deepEqual(rows, { accounts: { new: 3, old: 0 }, auth_db: { new: 3, old: 0 } })
  }
  assert.deepEqual(await metricsOf(nc, 'mailsync_token_rows'), {
    'mailsync_token_rows{store="accounts",kid="new"}': 3,
    'mailsync_token_rows{store="accounts",kid="old"}': 0,
    'mailsync_token_rows{store="auth_db",kid="new"}': 3,
    'mailsync_token_rows{store="auth_db",kid="old"}': 0,
  })
  const seals = await metricsOf(nc, 'mailsync_token_seals')
  assert.deepEqual(Object.keys(seals), ['mailsync_token_seals_total{kid="new"}'])
  // Two tokens in each row of its auth.db.
  assert.ok((seals['mailsync_token_seals_total{kid="new"}'] ?? 0) >= 2 * USERS.length, JSON.stringify(seals))
  await a.stop()
  await box.start('a', withKeys(NEW))
  await box.allLive(nc, USERS)
})

test('a key that rows still need cannot be removed: the start is refused and says what to do', async () => {
  await using box = await sandbox()
  const nc = await box.connection('service')
  const a = await box.start('a', withKeys(OLD))
  await box.connect(nc, 'ada', 'google', { n: 1 })
  await box.allLive(nc, ['ada'])
  await a.stop()
  for (const name of ['a', 'c'])
    await assert.rejects(
      box.start(name, withKeys(NEW)),
      (error) => error instanceof ExitError && error.exitCode === 78 && /sealed with old, .*rekey/.test(error.message),
    )
})

test('what cannot be sealed anew is left, is told of, and ends the command', async () => {
  await using box = await sandbox()
  await box.start('a', withKeys(NEW, OLD))
  const accounts = await new Kvm(await box.connection('ops')).open(BUCKET_ACCOUNTS)
  const record = { v: 1, desired: 'disconnected', mailbox: null, address: null, credential: 'no seal', revoke: null }
  const entry = { ...record, reauth: null, updated_at: 1 }
  await accounts.create(accountKey('ada', 'google', 'primary'), JSON.stringify(entry))
  const ran = await run(box)
  assert.equal(ran.code, 1)
  assert.match(ran.out, /^\(unreadable\) +1 +0$/m)
  assert.match(ran.err, /nothing changes any more: 1 row\(s\) are left/)
})

test('service and ops may ask; bridge and consumer may not; a request that does not fit is refused', async () => {
  await using box = await sandbox()
  await box.start('a', withKeys(OLD))
  const ask = async (role: NatsRole, body = '{}'): Promise<{ error?: { code: string }; active?: string }> =>
    (await (await box.connection(role)).request(REKEY_SUBJECT, body, { timeout: 5_000 })).json()
  for (const role of ['service', 'ops'] as const) assert.equal((await ask(role)).active, 'old')
  for (const role of ['bridge', 'consumer', 'mailsync'] as const)
    await assert.rejects(
      ask(role),
      (error) => error instanceof RequestError && error.cause instanceof PermissionViolationError,
      role,
    )
  assert.equal((await ask('service', 'no')).error?.code, 'BAD_JSON')
  for (const body of ['{"to":""}', '{"to":"a b"}', '{"user":"ada"}'])
    assert.equal((await ask('service', body)).error?.code, 'BAD_REQUEST', body)
})

test('on a server without users nobody can ask', async () => {
  await using nats = await startNatsServer({ conf: 'open' })
  await using box = await sandbox({ nats, env: { MAIL_TRUST_OPEN_NATS: '0' } })
  await box.start('a')
  const nc = await box.connection('service')
  await assert.rejects(
    nc.request(REKEY_SUBJECT, '{}', { timeout: 5_000 }),
    (error) => error instanceof RequestError && error.cause instanceof NoRespondersError,
  )
})
