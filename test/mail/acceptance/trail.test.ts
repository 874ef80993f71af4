/** Accepted when: every call and fact that changes the state of an account has exactly one record on the audit trail. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { requestOperation } from '#shared/control-client.ts'
import { AppError } from '#shared/errors.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { accountKey, BUCKET_ACCOUNTS, EVENT_STREAM, TRAIL_STREAM, trailSubject } from '#shared/subjects.ts'
import { type TrailRecord, trailRecord } from '#shared/trail.ts'
import type { Credentials } from '../../simulator/types.ts'
import { eventsOf } from '../../support/ledger.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { connectWith, recordOf, SEED, settled, untilStatus } from './support.ts'
import { setFull, trailOf } from './trail-support.ts'

const byId = (records: readonly TrailRecord[], requestId: string): TrailRecord[] =>
  records.filter((record) => record.request_id === requestId)

type Call = { id: string; operation: 'connect' | 'disconnect'; body: Record<string, unknown>; outcome: string }

function callsOf(ada: Credentials, other: Credentials): Call[] {
  const body = ({ access_token, refresh_token, expires_in }: Credentials, provider = 'google') => ({
    provider,
    access_token,
    refresh_token,
    expires_in,
  })
  const refused = { ...body(ada), access_token: 'bad-token', refresh_token: 'bad-token' }
  const inbox = (id: string) => ({ inbox_id: id })
  return [
    { id: 'first', operation: 'connect', body: body(ada), outcome: 'ok' },
    { id: 'again', operation: 'connect', body: body(ada), outcome: 'ok' },
    { id: 'refused', operation: 'connect', body: refused, outcome: 'CREDENTIAL_REFUSED' },
    { id: 'other-mailbox', operation: 'connect', body: body(other), outcome: 'MAILBOX_MISMATCH' },
    {
      id: 'twice',
      operation: 'connect',
      body: { ...body(ada), ...inbox('work') },
      outcome: 'MAILBOX_ALREADY_CONNECTED',
    },
    { id: 'stop', operation: 'disconnect', body: { provider: 'google' }, outcome: 'ok' },
    { id: 'stop-again', operation: 'disconnect', body: { provider: 'google' }, outcome: 'ok' },
    { id: 'never', operation: 'disconnect', body: { provider: 'microsoft' }, outcome: 'ok' },
  ]
}

async function call(nc: NatsConnection, { id, operation, body }: Call): Promise<string> {
  try {
    await requestOperation(nc, operation, { asUser: 'ada', body, requestId: id })
    return 'ok'
  } catch (error) {
    if (error instanceof AppError) return error.code
    throw error
  }
}

test('every call that may change an account has one record, however it ended; a call that only asks has none', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, steady: true })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a')
  const ada = box.sim.addMailbox({ user: 'ada-primary', provider: 'google', n: 5 })
  const other = box.sim.addMailbox({ user: 'other', provider: 'google', n: 5 })
  const calls = callsOf(ada, other)
  for (const one of calls) assert.equal(await call(nc, one), one.outcome, one.id)
  await requestOperation(nc, 'status', { asUser: 'ada', body: {}, requestId: 'status' })
  const all = await until('each has a record', async () => {
    const records = await trailOf(ops)
    return calls.every(({ id }) => byId(records, id).length > 0) && records
  })
  for (const { id, operation, outcome, body } of calls) {
    const [record, ...more] = byId(all, id)
    assert.deepEqual(more, [], `${id} has one record`)
    assert.deepEqual(
      [record?.action, record?.outcome, record?.user, record?.provider, record?.by, record?.instance],
      [operation, outcome, 'ada', body.provider, 'service', 'a'],
      id,
    )
  }
  assert.deepEqual(byId(all, 'status'), [])
  await until('nothing is owed', async () => (await recordOf(ops, 'ada', 'google')).owed === undefined)
  assert.deepEqual((await trailOf(ops)).length, all.length)
  const text = JSON.stringify(all)
  for (const secret of [ada.access_token, ada.refresh_token, other.refresh_token, 'ada-primary', '@', 'bad-token'])
    assert.ok(!text.includes(secret), `${secret} stands on the trail`)
})

test('a user with a JWT is told from a service; a grant that is refused and a term that begins are recorded once', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, betterAuth: true, steady: true })
  const [nc, ops] = [await box.connection('bridge'), await box.connection('ops')]
  const service = await box.connection('service')
  const a = await box.start('a')
  const user = await box.auth?.signUp('ada@example.com')
  assert.ok(user !== undefined)
  const { userId } = user
  const { access_token, refresh_token, expires_in } = box.sim.addMailbox({ user: 'x', provider: 'google', n: 5 })
  const body = { provider: 'google', access_token, refresh_token, expires_in }
  await requestOperation(nc, 'connect', { jwt: await user.jwt(), body, requestId: 'own' })
  await box.allLive(service, [userId])
  box.sim.faults.add({ match: { route: 'google.token' }, fault: { type: 'invalid_grant' } })
  box.sim.faults.add({ match: { route: 'gmail.history.list' }, fault: { type: '401untilRefresh' }, times: 1 })
  await untilStatus(box, service, userId, 'google', 'needs_reauth', ({ state }) => state === 'needs_reauth')
  await until('nothing is owed', async () => (await recordOf(ops, userId, 'google')).owed === undefined)
  await a.stop()
  await box.start('b')
  const ofTerms = await until('both terms are recorded', async () => {
    const terms = (await trailOf(ops)).filter(({ action }) => action === 'ownership')
    return terms.length === 2 && terms
  })
  assert.deepEqual(
    ofTerms.map(({ instance, by, how, user }) => ({ instance, by, how, user })),
    [
      { instance: 'a', by: 'instance', how: 'new', user: userId },
      { instance: 'b', by: 'instance', how: ofTerms[1]?.how, user: userId },
    ],
  )
  const rest = (await trailOf(ops)).filter(({ action }) => action !== 'ownership')
  assert.deepEqual(
    rest.map(({ action, by, outcome, request_id }) => ({ action, by, outcome, request_id })),
    [
      { action: 'connect', by: 'user', outcome: 'ok', request_id: 'own' },
      { action: 'refresh_failed', by: 'instance', outcome: 'AUTH_EXPIRED', request_id: null },
    ],
  )
})

/** As an instance leaves it that is killed between the account's record and the trail. */
async function owe(ops: NatsConnection, records: readonly TrailRecord[]): Promise<void> {
  const kv = await new Kvm(ops).open(BUCKET_ACCOUNTS)
  const key = accountKey('ada', 'google', 'primary')
  const entry = await kv.get(key)
  assert.ok(entry !== null)
  await kv.update(key, JSON.stringify({ ...entry.json<object>(), owed: records }), entry.revision)
}

test('who dies before the record is on the trail loses none, and who dies after that doubles none', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, steady: true })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const a = await box.start('a')
  await box.connect(nc, 'ada', 'google', { n: 5 })
  await box.allLive(nc, ['ada'])
  await until('nothing is owed', async () => (await recordOf(ops, 'ada', 'google')).owed === undefined)
  await a.stop()
  const [told] = (await trailOf(ops)).filter(({ action }) => action === 'connect')
  assert.ok(told !== undefined)
  const untold = trailRecord({
    ...{ action: 'disconnect', userId: 'ada', provider: 'google', by: 'user', instance: 'a', atS: told.at },
    requestId: 'untold',
  })
  await owe(ops, [told, untold])
  await box.start('b')
  await until('nothing is owed', async () => (await recordOf(ops, 'ada', 'google')).owed === undefined)
  const records = await trailOf(ops)
  assert.deepEqual(
    [told, untold].map(({ id }) => records.filter((record) => record.id === id).length),
    [1, 1],
  )
})

test('while NATS takes no record mail goes on and calls are answered, up to a bound; then each record comes once', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, steady: true })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const a = await box.start('a')
  await setFull(ops, true)
  await box.connect(nc, 'ada', 'google', { n: 5 })
  await settled(box, nc, ['ada'], 'without a trail')
  assert.equal((await eventsOf(ops, 'ada')).length > 0, true)
  assert.deepEqual(await trailOf(ops), [])
  const again = (): Promise<void> => connectWith(nc, 'ada', 'google', box.sim.credentials('ada-primary', 'google'))
  let taken = 1
  const refusal = await until('calls are refused', async () => {
    try {
      await again()
      taken++
    } catch (error) {
      return error
    }
  })
  assert.ok(refusal instanceof AppError && refusal.code === 'TIMEOUT', String(refusal))
  assert.equal(taken, 32)
  const id = box.sim.mutate({ type: 'deliver', user: 'ada-primary', provider: 'google' })
  const isThere = async () => (await eventsOf(ops, 'ada')).some(({ event }) => event.provider_message_id === id)
  await until('mail goes on', isThere)
  await setFull(ops, false)
  await a.stop()
  await box.start('b')
  await until('nothing is owed', async () => (await recordOf(ops, 'ada', 'google')).owed === undefined)
  const connects = (await trailOf(ops)).filter(({ action, outcome }) => action === 'connect' && outcome === 'ok')
  assert.equal(new Set(connects.map(({ id }) => id)).size, taken)
  assert.equal(connects.length, taken)
  await again()
})

test('only an instance may write on the trail, and nobody takes a record out of it', async () => {
  await using box: Sandbox = await sandbox({ steady: true })
  await box.start('a')
  const ops = await box.connection('ops')
  const jsm = await jetstreamManager(ops)
  for (const role of ['bridge', 'service', 'consumer', 'ops'] as const) {
    const nc = await box.connection(role)
    await assert.rejects(nc.request(trailSubject('ada', 'connect'), '{}', { timeout: 2_000 }), role)
  }
  const mailsync = await box.connection('mailsync')
  await mailsync.request(trailSubject('ada', 'connect'), '{}', { timeout: 2_000 })
  const { state } = await jsm.streams.info(TRAIL_STREAM)
  assert.equal(state.messages, 1)
  await assert.rejects(jsm.streams.deleteMessage(TRAIL_STREAM, state.last_seq), /delete/)
  await assert.rejects(jsm.streams.purge(TRAIL_STREAM), /purge/)
  await assert.rejects(jsm.streams.update(TRAIL_STREAM, { deny_delete: false }), /deny/)
  assert.notEqual(TRAIL_STREAM, EVENT_STREAM)
})
