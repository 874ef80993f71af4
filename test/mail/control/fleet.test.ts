/** `mail.fleet`: who answers it, with what, and who may ask. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstreamManager, type StreamConfig } from '@nats-io/jetstream'
import * as v from 'valibot'
import { FLEET_EXAMPLE, FLEET_SESSIONS_MAX, FleetReply } from '#shared/fleet.ts'
import { type NatsConnection, PermissionViolationError, RequestError } from '#shared/nats.ts'
import { fleetOf } from '#shared/service-view.ts'
import { BUCKET_LEASES, bucketStream, FLEET_SUBJECT, requestSubject } from '#shared/subjects.ts'
import packageJson from '../../../package.json' with { type: 'json' }
import { sessionsOf } from '../../../services/mail/app/fleet.ts'
import { type NatsRole, startNatsServer } from '../../support/nats-server.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { ManualClock } from '../base/manual-clock.ts'

const WAIT_MS = 5_000
const USERS = ['ada', 'grace', 'joan', 'mary', 'radia', 'barbara']
const byName = (replies: FleetReply[]): FleetReply[] => replies.toSorted((a, b) => (a.instance < b.instance ? -1 : 1))

/** Asked once: exactly one reply of each. */
async function untilSettled(
  nc: NatsConnection,
  what: string,
  fits: (replies: FleetReply[]) => boolean,
): Promise<FleetReply[]> {
  return await until(
    what,
    async () => {
      const replies = byName(await fleetOf(nc, WAIT_MS))
      if (!fits(replies)) throw new Error(JSON.stringify(replies))
      return replies
    },
    { everyMs: 50 },
  )
}

test('every instance answers one request once, with what it owns and which sessions it sees', async () => {
  await using box = await sandbox()
  const nc = await box.connection('service')
  await box.start('a', { env: { MAIL_COMMIT: 'abc123' } })
  await box.start('b')
  for (const user of USERS) await box.connect(nc, user, 'google', { n: 10 })
  await box.allLive(nc, USERS)
  const [a, b] = await untilSettled(
    nc,
    'both own users',
    ([one, two, ...more]) =>
      one !== undefined && two !== undefined && more.length === 0 && one.users > 0 && one.users + two.users === 6,
  )
  assert.ok(a !== undefined && b !== undefined)
  assert.deepEqual([a.instance, b.instance, a.state, b.state], ['a', 'b', 'live', 'live'])
  assert.deepEqual([a.version, a.node, a.commit], [packageJson.version, process.versions.node, 'abc123'])
  assert.notEqual(a.directory, b.directory)
  const both: FleetReply[] = [a, b]
  for (const one of both) {
    assert.deepEqual(one.accounts, { live: one.users })
    assert.deepEqual([one.outbox_pending, one.disk_fault], [0, null])
    assert.deepEqual(one.zombie_writes_refused, { sqlite: 0, state: 0, stream: 0 })
    assert.ok(one.event_loop_lag_ms.p50 <= one.event_loop_lag_ms.max)
    const seen = new Map(one.sessions.map((session) => [session.sid, session]))
    for (const other of both) {
      const session = seen.get(other.sid ?? '')
      assert.deepEqual([session?.instance, session?.state], [other.instance, 'live'])
      assert.ok(session !== undefined && session.silent_ms >= 0)
    }
  }
  const sum = (pick: (one: FleetReply) => number): number => pick(a) + pick(b)
  assert.ok(sum((one) => one.rates.mails_stored_per_s) > 0)
  assert.ok(sum((one) => one.rates.events_published_per_s) > 0)
  assert.ok(sum((one) => Object.values(one.takeovers).reduce((x, y) => x + y, 0)) >= 6)
})

test('the reply names no user, no mailbox and no path', async () => {
  await using box = await sandbox()
  const nc = await box.connection('service')
  await box.start('a')
  await box.connect(nc, 'grace', 'google', { n: 3 })
  await box.allLive(nc, ['grace'])
  const text = (await nc.request(FLEET_SUBJECT, '', { timeout: WAIT_MS })).string()
  assert.ok(v.is(FleetReply, JSON.parse(text)))
  assert.doesNotMatch(text, /grace|@|\//)
  assert.ok(v.is(FleetReply, FLEET_EXAMPLE), 'the example of the documents')
})

test('an instance that is suspended says so, and that it sees the others', async () => {
  await using box = await sandbox({ env: { MAIL_LEASE_SILENCE_MS: '1000' } })
  const nc = await box.connection('service')
  await box.start('a')
  await untilSettled(nc, 'live', ([one]) => one?.state === 'live')
  const ops = await box.connection('ops')
  await sealLeases(ops)
  const [one] = await untilSettled(nc, 'suspended', ([reply]) => reply?.state === 'suspended')
  assert.ok((one?.sessions[0]?.silent_ms ?? 0) > 0)
})

/** Nobody can write a heartbeat any more; requests still arrive. */
async function sealLeases(ops: NatsConnection): Promise<void> {
  const jsm = await jetstreamManager(ops)
  const stream = bucketStream(BUCKET_LEASES)
  const { config } = await jsm.streams.info(stream)
  const sealed: StreamConfig = { ...config, sealed: true }
  await jsm.streams.update(stream, sealed)
}

const told = (error: unknown): string | null => {
  const cause = error instanceof RequestError ? error.cause : error
  return cause instanceof PermissionViolationError ? `${cause.operation} ${cause.subject}` : null
}

/** What the server says to a request; null when it lets it through. */
async function asks(box: Sandbox, role: NatsRole): Promise<string | null> {
  const nc = await box.connection(role)
  return await nc.request(FLEET_SUBJECT, '', { timeout: WAIT_MS }).then(
    () => null,
    (error: unknown) => told(error) ?? Promise.reject(error),
  )
}

/** What the server says to a subscription without a queue group. */
async function listens(box: Sandbox, role: NatsRole, subject: string): Promise<string | null> {
  const nc = await box.connection(role)
  let refusal: string | null = null
  nc.subscribe(subject, {
    callback: (error) => {
      refusal ??= told(error)
    },
  })
  await nc.flush()
  return refusal
}

test('service and ops may ask; bridge and consumer may not; only instances may answer', async () => {
  await using box = await sandbox()
  await box.start('a')
  assert.deepEqual([await asks(box, 'service'), await asks(box, 'ops')], [null, null])
  for (const role of ['bridge', 'consumer'] as const) assert.equal(await asks(box, role), `publish ${FLEET_SUBJECT}`)
  for (const role of ['bridge', 'consumer', 'service', 'ops'] as const)
    assert.equal(await listens(box, role, FLEET_SUBJECT), `subscription ${FLEET_SUBJECT}`)
  assert.equal(await listens(box, 'mailsync', FLEET_SUBJECT), null)
  const other = requestSubject('connect')
  assert.equal(await listens(box, 'mailsync', other), `subscription ${other}`, 'no other one without the queue group')
})

test('on a server without users everybody may ask: there is nothing of a user in it', async () => {
  await using nats = await startNatsServer({ conf: 'open' })
  await using box = await sandbox({ nats, env: { MAIL_TRUST_OPEN_NATS: '0' } })
  await box.start('a')
  const nc = await box.connection('service')
  assert.deepEqual(
    (await fleetOf(nc, WAIT_MS)).map(({ instance }) => instance),
    ['a'],
  )
})

test('of the sessions that an instance sees the newest are told, and how many were left out', () => {
  const clock = new ManualClock()
  const record = {
    v: 1,
    kind: 'session',
    name: 'a',
    address: 'a',
    directory: 'a',
    state: 'dead',
    n: 1,
    version: '0',
  } as const
  const sids = Array.from({ length: FLEET_SESSIONS_MAX + 3 }, (_, i) => `s${String(i).padStart(5, '0')}`)
  const sessions = new Map(sids.map((sid) => [sid, { sid, record, revision: 1, changedMonoMs: 0 }]))
  const told = sessionsOf({ leases: { sessions }, clock })
  assert.deepEqual([told.sessions.length, told.sessions_left_out], [FLEET_SESSIONS_MAX, 3])
  assert.deepEqual([told.sessions[0]?.sid, told.sessions.at(-1)?.sid], [sids.at(-1), 's00003'])
})
