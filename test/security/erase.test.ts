/**
 * Accepted when: a user is erased by instances that are killed at each step; afterwards no canary is in any data directory nor
 * in the JetStream store, and other users are byte for byte what they were.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM, eraseSubject, eventSubjectsOf, TRAIL_STREAM } from '#shared/subjects.ts'
import { eraseMessages } from '../../services/mail/kv/erase-messages.ts'
import { connectWith, disconnect, recordOf, requests, SEED } from '../mail/acceptance/support.ts'
import { trailOf } from '../mail/acceptance/trail-support.ts'
import { InstanceProcess, MACHINE } from '../support/instance.ts'
import { eventsOf } from '../support/ledger.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { until } from '../support/until.ts'
import { amount } from './amount.ts'
import type { Canaries } from './canaries.ts'
import { canariesBelow } from './canary-files.ts'
import { canariesOf, DELIVERED, deliver, FOLDER, REQUEST_ID, SUBJECT, secretsOf } from './erase-canaries.ts'
import { OTHERS, othersOf, putSnapshots } from './erase-others.ts'

/** Before each step, and after the last one. */
const STEPS = ['grants', 'events', 'snapshots', 'database', 'checkpoint', 'records', 'receipt', 'wish', 'done']
const MAILS = amount(20, 100, 600)
const PROCESS = join(import.meta.dirname, 'erase-process.ts')

type Erased = { state: string; receipt: string }
const erase = async (nc: NatsConnection): Promise<Erased> =>
  (await nc.request(eraseSubject('ada'), '{}', { timeout: 3_000 })).json<Erased>()

/** Starts an instance that dies at a step. @returns when it is dead, or when it runs */
async function instanceUntil(box: Sandbox, step: string, t: TestContext): Promise<InstanceProcess> {
  const child = spawn(process.execPath, [PROCESS, step], {
    env: { ...MACHINE, ...box.env('now') },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  const instance = new InstanceProcess(child)
  await Promise.race([instance.exited, instance.ready()]).catch(() => undefined)
  return instance
}

/** Ada with two mailboxes, and the others, by the instance `old`, which is off then. */
async function history(box: Sandbox, nc: NatsConnection, ops: NatsConnection): Promise<void> {
  const old = await box.start('old')
  const call = { requestId: REQUEST_ID }
  for (const user of OTHERS) await box.connect(nc, user, 'google', { n: MAILS })
  await box.connect(nc, 'ada', 'google', { n: MAILS }, 'primary', call)
  await box.connect(nc, 'ada', 'microsoft', { n: MAILS, folders: [FOLDER] }, 'work', call)
  await box.allLive(nc, ['ada', ...OTHERS])
  await disconnect(nc, 'adam', 'google')
  deliver(box, 'ada')
  await until('what was delivered is published', async () => {
    const subjects = (await eventsOf(ops, 'ada')).filter(({ event }) => event.subject === SUBJECT)
    return subjects.length === DELIVERED
  })
  await until('nobody works for adam', async () => {
    const { revoke, owed } = await recordOf(ops, 'adam', 'google')
    return revoke === null && owed === undefined
  })
  await old.stop()
  await putSnapshots(box, { ada: SUBJECT, adam: 'of adam' })
}

/** Whatever is looked for has been there, or looking for it would say nothing. */
function assertWereThere(box: Sandbox, words: readonly string[]): void {
  const canaries = canariesOf(words)
  const found = [...canariesBelow(box.dir, canaries), ...canariesBelow(box.nats.dir, canaries)]
  const nowhere = words.filter((word) => !found.some((place) => place.includes(`: ${word}, `)))
  assert.deepEqual(nowhere, [])
}

/** What was connected by the request stays on the audit trail. */
function assertOnTrailOnly(box: Sandbox): void {
  const places = canariesBelow(box.nats.dir, canariesOf([REQUEST_ID]))
  assert.ok(places.length > 0)
  assert.deepEqual(
    places.filter((place) => !place.includes(`/${TRAIL_STREAM}/`)),
    [],
  )
}

/** A disk that was off has everything, until it comes back. */
async function comesBack(box: Sandbox, nc: NatsConnection, canaries: Canaries): Promise<void> {
  assert.ok(canariesBelow(join(box.dir, 'old'), canaries).length > 0, 'a disk that is off has everything')
  await box.start('old')
  await until('nor on one that comes back', () => {
    assert.deepEqual(canariesBelow(join(box.dir, 'old'), canaries), [])
    return true
  })
  await until('an owner is there', async () => (await box.status(nc, 'grace')).accounts.length === 1)
  assert.deepEqual((await box.status(nc, 'ada')).accounts, [], 'nothing was brought back')
}

async function story(t: TestContext, deaths: readonly string[]): Promise<void> {
  await using box = await sandbox({ simulator: { seed: SEED }, env: { MAIL_DEDUPE_WINDOW_MS: '100' } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await history(box, nc, ops)

  const [first = 'none', ...later] = deaths
  let instance = await instanceUntil(box, first, t)
  await box.allLive(nc, ['ada', 'grace'])
  const events = await eventsOf(ops, 'ada')
  const secrets = await secretsOf(box, ops, 'ada', 'now')
  assertWereThere(box, secrets)
  const canaries = canariesOf(secrets)
  const owes = async (): Promise<boolean> => (await recordOf(ops, 'grace', 'google')).owed !== undefined
  await until('the audit trail is owed nothing of others', async () => !(await owes()))
  const before = await othersOf(box, ops, 'now')

  const { receipt, state } = await erase(nc)
  assert.equal(state, 'running')
  for (const step of later) {
    await instance.exited
    instance = await instanceUntil(box, step, t)
  }
  if (deaths.length > 0) {
    await instance.exited
    instance = await instanceUntil(box, 'none', t)
  }
  await until('it is done', async () => (await erase(nc)).state === 'done', { timeoutMs: 60_000 })
  assert.equal((await erase(nc)).receipt, receipt, 'asking again answers the same')
  await until('nothing is left on this disk', () => {
    assert.deepEqual(canariesBelow(join(box.dir, 'now'), canaries), [])
    return true
  })
  assert.deepEqual(canariesBelow(box.nats.dir, canaries), [])
  assertOnTrailOnly(box)
  assert.deepEqual(await othersOf(box, ops, 'now'), before, 'others are what they were')
  const revoked = requests(box, 'google.revoke').filter(({ status }) => status === 200)
  assert.equal(revoked.length, 2, 'when adam left, and now')
  const receipts = (await trailOf(ops)).filter(({ action, outcome }) => action === 'erase' && outcome === 'ok')
  assert.deepEqual(receipts.filter(({ id }) => id === receipt).length, 1, 'one receipt')

  await comesBack(box, nc, canaries)
  assert.deepEqual((await othersOf(box, ops, 'now')).file, before.file)
  await box.nats.stop()
  assert.deepEqual(canariesBelow(box.nats.dir, canaries), [], 'nor does a server write it when it stops')
  await box.nats.start()

  await until('connected again', async () => {
    await connectWith(nc, 'ada', 'google', box.sim.credentials(box.simUser('ada'), 'google'))
    return true
  })
  const count = events.filter(({ event }) => event.provider === 'GOOGLE').length
  await until('it is a new user', async () => (await eventsOf(ops, 'ada')).length === count, { timeoutMs: 60_000 })
  t.diagnostic(`${deaths.length} kills, ${canaries.size} canaries, ${events.length} events erased`)
}

test('a user is erased though the instance is killed at each step; no canary is left, others are untouched', (t) =>
  story(t, STEPS))

for (const step of STEPS.slice(0, amount(0, STEPS.length, STEPS.length)))
  test(`a user is erased though the instance is killed at the step ${step}, with all the data there`, (t) =>
    story(t, [step]))

test('control: what is purged stays in the files of the server; what is erased does not', async () => {
  await using server = await startNatsServer()
  await using box = await sandbox({ nats: server })
  const ops = await box.connection('ops')
  const [js, jsm] = [jetstream(ops), await jetstreamManager(ops)]
  await jsm.streams.add({ name: EVENT_STREAM, subjects: ['user.*.email.>'], allow_direct: true })
  const publish = async (user: string) => await js.publish(`user.${user}.email.received`, `{"subject":"${SUBJECT}"}`)
  const canaries = canariesOf([SUBJECT])
  // A file without any message is deleted.
  await js.publish('user.joan.email.received', '{}')
  await publish('grace')
  await jsm.streams.purge(EVENT_STREAM, { filter: eventSubjectsOf('grace') })
  await js.publish('user.joan.email.received', '{}')
  assert.notDeepEqual(canariesBelow(server.dir, canaries), [])
  await jsm.streams.delete(EVENT_STREAM)
  await jsm.streams.add({ name: EVENT_STREAM, subjects: ['user.*.email.>'], allow_direct: true })
  await publish('grace')
  const { seq } = await publish('ada')
  await js.publish('user.joan.email.received', '{}')
  assert.equal(await eraseMessages(jsm, EVENT_STREAM, eventSubjectsOf('grace'), seq), 1)
  assert.equal(await eraseMessages(jsm, EVENT_STREAM, eventSubjectsOf('ada'), seq - 1), 0, 'what comes later stays')
  assert.equal(await eraseMessages(jsm, EVENT_STREAM, eventSubjectsOf('ada'), seq), 1)
  await until('it is gone', () => canariesBelow(server.dir, canaries).length === 0)
  assert.equal((await jsm.streams.info(EVENT_STREAM)).state.messages, 1)
})
