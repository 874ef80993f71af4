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
import { BUCKET_ACCOUNTS, bucketStream, EVENT_STREAM, eraseSubject, eventSubjectsOf } from '#shared/subjects.ts'
import { eraseMessages } from '../../services/mail/kv/erase-messages.ts'
import { connectWith, readUserDb, recordOf, requests, SEED } from '../mail/acceptance/support.ts'
import { trailOf } from '../mail/acceptance/trail-support.ts'
import { InstanceProcess, MACHINE } from '../support/instance.ts'
import { eventsOf } from '../support/ledger.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { until } from '../support/until.ts'
import { amount } from './amount.ts'
import { Canaries } from './canaries.ts'
import { canariesBelow } from './canary-files.ts'

/** Before each step, and after the last one. */
const STEPS = ['grants', 'events', 'snapshots', 'database', 'checkpoint', 'records', 'receipt', 'wish', 'done']
const MAILS = amount(20, 100, 600)
const PROCESS = join(import.meta.dirname, 'erase-process.ts')
const WORDS = ['subject', 'sender', 'sender@', 'to', 'to@', 'cc', 'cc@', 'preview'].map(
  (field) => `canary.${field}.7f3a`,
)
const [SUBJECT = '', SENDER = '', SENDER_AT = '', TO = '', TO_AT = '', CC = '', CC_AT = '', PREVIEW = ''] = WORDS

function deliver(box: Sandbox, user: string): void {
  const fields = {
    subject: SUBJECT,
    from: { name: SENDER, address: `${SENDER_AT}@x.example` },
    to: [{ name: TO, address: `${TO_AT}@x.example` }],
    cc: [{ name: CC, address: `${CC_AT}@x.example` }],
    preview: PREVIEW,
  }
  for (const provider of ['google', 'microsoft'] as const)
    box.sim.mutate({ type: 'deliver', user: box.simUser(user, inboxOf(provider)), provider, ...fields })
}
const inboxOf = (provider: 'google' | 'microsoft'): string => (provider === 'google' ? 'primary' : 'work')

/** What others have not as well: addresses end alike, credentials and ids of Outlook begin alike. */
function ownPart(text: string | null): string {
  if (text === null) throw new Error('a field is empty')
  return text.includes('@') ? text.slice(0, text.indexOf('@') + 1) : text.slice(-16)
}

function canariesOf(words: readonly string[]): Canaries {
  const canaries = new Canaries()
  for (const word of words) canaries.add(word, word)
  return canaries
}

type Erased = { state: string; receipt: string }
const erase = async (nc: NatsConnection): Promise<Erased> =>
  (await nc.request(eraseSubject('ada'), '{}', { timeout: 3_000 })).json<Erased>()

/** What there is of grace: every event and record with its sequence, and the rows of her mails. */
async function stateOf(box: Sandbox, ops: NatsConnection, instance: string) {
  const jsm = await jetstreamManager(ops)
  const events = await eventsOf(ops, 'grace')
  const raw = await Promise.all(events.map(({ seq }) => jsm.streams.getMessage(EVENT_STREAM, { seq })))
  const record = await jsm.streams.getMessage(bucketStream(BUCKET_ACCOUNTS), {
    last_by_subj: '$KV.mail_accounts.grace.google.primary',
  })
  const rows = readUserDb(box, instance, 'grace', (db) =>
    ['email_received_events', 'known'].map((table) => db.prepare(`SELECT * FROM ${table} ORDER BY 1`).all()),
  )
  const bytes = raw.map((message) => [message?.seq, message?.subject, message?.header.toString(), message?.string()])
  return { bytes, record: [record?.seq, record?.string()], rows }
}

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

async function story(t: TestContext, deaths: readonly string[]): Promise<void> {
  await using box = await sandbox({ simulator: { seed: SEED }, env: { MAIL_DEDUPE_WINDOW_MS: '100' } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const old = await box.start('old')
  for (const user of ['ada', 'grace']) await box.connect(nc, user, 'google', { n: MAILS })
  await box.connect(nc, 'ada', 'microsoft', { n: MAILS }, 'work')
  await box.allLive(nc, ['ada', 'grace'])
  deliver(box, 'ada')
  await until('what was delivered is published', async () => {
    const subjects = (await eventsOf(ops, 'ada')).filter(({ event }) => event.subject === SUBJECT)
    return subjects.length === 2
  })
  await old.stop()

  const [first = 'none', ...later] = deaths
  let instance = await instanceUntil(box, first, t)
  await box.allLive(nc, ['ada', 'grace'])
  const events = await eventsOf(ops, 'ada')
  const records = [await recordOf(ops, 'ada', 'google'), await recordOf(ops, 'ada', 'microsoft', 'work')]
  const canaries = canariesOf([
    ...WORDS,
    ...records.flatMap(({ mailbox, address, credential }) => [ownPart(mailbox), ownPart(address), ownPart(credential)]),
    ...events.flatMap(({ event }) => [ownPart(event.provider_message_id), ownPart(event.provider_thread_id)]),
  ])
  assert.notDeepEqual([canariesBelow(box.dir, canaries).length, canariesBelow(box.nats.dir, canaries).length], [0, 0])
  const owes = async (): Promise<boolean> => (await recordOf(ops, 'grace', 'google')).owed !== undefined
  await until('the audit trail is owed nothing of others', async () => !(await owes()))
  const before = await stateOf(box, ops, 'now')
  assert.ok(before.bytes.length > 0)

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
  assert.deepEqual((await stateOf(box, ops, 'now')).bytes, before.bytes)
  assert.deepEqual(await stateOf(box, ops, 'now'), before, 'others are what they were')
  assert.equal(requests(box, 'google.revoke').filter(({ status }) => status === 200).length, 1)
  const receipts = (await trailOf(ops)).filter(({ action, outcome }) => action === 'erase' && outcome === 'ok')
  assert.deepEqual(receipts.filter(({ id }) => id === receipt).length, 1, 'one receipt')

  assert.ok(canariesBelow(join(box.dir, 'old'), canaries).length > 0, 'a disk that is off has everything')
  const again = await box.start('old')
  await until('nor on one that comes back', () => {
    assert.deepEqual(canariesBelow(join(box.dir, 'old'), canaries), [])
    return true
  })
  await until('an owner is there', async () => (await box.status(nc, 'grace')).accounts.length === 1)
  assert.deepEqual((await box.status(nc, 'ada')).accounts, [], 'nothing was brought back')
  await box.nats.stop()
  assert.deepEqual(canariesBelow(box.nats.dir, canaries), [], 'nor does a server write it when it stops')
  await box.nats.start()

  await until('connected again', async () => {
    await connectWith(nc, 'ada', 'google', box.sim.credentials(box.simUser('ada'), 'google'))
    return true
  })
  const count = events.filter(({ event }) => event.provider === 'GOOGLE').length
  await until('it is a new user', async () => (await eventsOf(ops, 'ada')).length === count, { timeoutMs: 60_000 })
  await again.stop()
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
