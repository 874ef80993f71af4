/**
 * Accepted when: an audit proves a mailbox that is whole; what is missing in the database or on the stream is found, named
 * and put right, and what is on the stream twice is found; interrupted, it goes on; and with the comparison off it finds
 * nothing of all that.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import SqliteDatabase from 'better-sqlite3'
import type { AccountAudit } from '#shared/audit.ts'
import { requestInspection } from '#shared/control-client.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM, eventSubject, type ProviderName } from '#shared/subjects.ts'
import { encodeUser } from '#shared/user-token.ts'
import { eventsOf } from '../../support/ledger.ts'
import { type Sandbox, type SandboxOptions, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { assertClean, settled, storedRows, untilStatus } from './support.ts'

/** A purged event is published again; within the duplicate window the server would not take it. */
const ENV = { MAIL_DEDUPE_WINDOW_MS: '200' }
const OLD_MS = Date.now() - 86_400_000

const ask = (nc: NatsConnection, userId: string, start: boolean): Promise<AccountAudit[]> =>
  requestInspection(nc, 'audit', { asUser: userId, body: { start }, requestId: 'test' }).then(
    ({ accounts }) => accounts,
  )

/** Begins an audit and waits for its end. */
async function audited(nc: NatsConnection, userId: string): Promise<AccountAudit[]> {
  await ask(nc, userId, true)
  return await until(`the audit of ${userId} is done`, async () => {
    const accounts = await ask(nc, userId, false)
    if (accounts.some(({ state }) => state !== 'done')) throw new Error(JSON.stringify(accounts))
    return accounts
  })
}

const faults = ({ missing, extra, twice, absent, stale }: AccountAudit) => ({ missing, extra, twice, absent, stale })
const CLEAN = { missing: 0, extra: 0, twice: 0, absent: 0, stale: false }

/** Another user's mail before and after: the stream holds on to both ends while a user's events in between are purged. */
async function world(n: number, provider: ProviderName, options: SandboxOptions = {}): Promise<Sandbox> {
  const box = await sandbox({ env: ENV, ...options })
  const nc = await box.connection('service')
  await box.start('a')
  await box.connect(nc, 'first', 'google', { n: 3 })
  await box.allLive(nc, ['first'])
  await box.connect(nc, 'ada', provider, { n })
  await box.allLive(nc, ['ada'])
  return box
}

/** Deletes a row of a running instance by hand, as nobody should. Returns its event id. */
function loseRow(box: Sandbox, at: number): string {
  const db = new SqliteDatabase(join(box.dir, 'a', 'users', encodeUser('ada'), 'events.db'))
  try {
    const id = db.prepare('SELECT event_id FROM email_received_events ORDER BY rowid LIMIT 1 OFFSET ?').pluck().get(at)
    db.prepare('DELETE FROM email_received_events WHERE event_id = ?').run(id)
    return String(id)
  } finally {
    db.close()
  }
}

for (const provider of ['google', 'microsoft'] as const)
  test(`an audit proves a mailbox of ${provider} that is whole, and fetches none of its mail`, async () => {
    await using box = await world(300, provider)
    const nc = await box.connection('service')
    const before = await untilStatus(box, nc, 'ada', provider, 'the first walk is a proof', ({ completeness }) =>
      Number.isInteger(completeness.proven_at),
    )
    const gets = () => box.sim.log().filter(({ route }) => route.endsWith('messages.get')).length
    const fetched = gets()
    const [found] = await audited(nc, 'ada')
    assert.ok(found !== undefined)
    const stored = storedRows(box, 'a', 'ada')
    assert.deepEqual(faults(found), CLEAN)
    assert.deepEqual(
      [found.provider_total, found.stored, found.published, found.gone, found.passes],
      [stored, stored, stored, 0, 1],
    )
    assert.equal(gets(), fetched)
    assert.ok(found.cost > 0 && found.cost <= 20, `cost ${found.cost}`)
    const { completeness, state } = await untilStatus(
      box,
      nc,
      'ada',
      provider,
      'is live',
      (one) => one.state === 'live',
    )
    assert.deepEqual(completeness, { provider_total: stored, stored, published: stored, proven_at: found.proven_at })
    assert.ok(Number(completeness.proven_at) >= Number(before.completeness.proven_at) && state === 'live')
  })

for (const provider of ['google', 'microsoft'] as const)
  test(`of ${provider} a row that is lost and events that were purged are found, named and put back, once`, async () => {
    await using box = await world(120, provider)
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    const before = await eventsOf(ops, 'ada')
    const lostRow = loseRow(box, 50)
    const seq = before[7]?.seq ?? 0
    await (await jetstreamManager(ops)).streams.purge(EVENT_STREAM, { filter: eventSubject('ada'), seq })
    const purged = before.filter((event) => event.seq < seq).map(({ msgId }) => msgId)

    const [found] = await audited(nc, 'ada')
    assert.ok(found !== undefined)
    assert.deepEqual(faults(found), { ...CLEAN, missing: 1, absent: 7 })
    const named = (what: string) => found.findings.filter((one) => one.what === what).map((one) => one.event_id)
    assert.deepEqual([named('missing'), named('absent').toSorted()], [[lostRow], purged.toSorted()])
    await settled(box, nc, ['ada'], provider)
    const after = (await eventsOf(ops, 'ada')).map(({ msgId }) => msgId)
    assert.deepEqual(after.toSorted(), before.map(({ msgId }) => msgId).toSorted())

    const [again] = await audited(nc, 'ada')
    assert.ok(again !== undefined)
    assert.deepEqual([faults(again), again.gone], [CLEAN, 0])
  })

test('an event that somebody has published once more is found, and so is a message that is none', async () => {
  await using box = await world(30, 'google')
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const before = await eventsOf(ops, 'ada')
  const [, second] = before
  assert.ok(second !== undefined)
  const copy = await jetstream(ops).publish(eventSubject('ada'), JSON.stringify(second.event))
  const junk = await jetstream(ops).publish(eventSubject('ada'), '{"not":"an event"}')
  const [found] = await audited(nc, 'ada')
  assert.ok(found !== undefined)
  assert.deepEqual(faults(found), { ...CLEAN, twice: 1, extra: 1 })
  assert.deepEqual(found.findings, [
    { what: 'twice', event_id: second.msgId, sequence: copy.seq },
    { what: 'extra', event_id: null, sequence: junk.seq },
  ])
  // It is no mail that is missing.
  assert.ok(found.proven_at !== null)

  // The relay learns of the copy when it publishes next; then it is the first one that is the second.
  box.sim.mutate({ type: 'deliver', user: 'ada-primary', provider: 'google' })
  await until('the new mail is there', async () => (await messagesOf(ops)) === before.length + 3)
  const [again] = await audited(nc, 'ada')
  assert.deepEqual(again?.findings[0], { what: 'twice', event_id: second.msgId, sequence: second.seq })
})

/** Messages on the user's subject, whatever they are. */
async function messagesOf(ops: NatsConnection): Promise<number> {
  const subject = eventSubject('ada')
  const info = await (await jetstreamManager(ops)).streams.info(EVENT_STREAM, { subjects_filter: subject })
  return info.state.subjects?.[subject] ?? 0
}

test('mail that the provider never told of is found, and published once', async () => {
  let hides = false
  const onAnswer = (route: string, { body }: { body?: unknown }): void => {
    if (hides && route === 'gmail.history.list') delete (body as { history?: unknown }).history
  }
  await using box = await world(30, 'google', { simulator: { onAnswer } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  hides = true
  box.sim.mutate({ type: 'deliver', user: 'ada-primary', provider: 'google', receivedMs: OLD_MS })
  const polls = () => box.sim.log().filter(({ route }) => route === 'gmail.history.list').length
  const polled = polls()
  await until('the position has passed it', () => polls() > polled + 6)
  hides = false
  const quiet = await box.ledger(ops)
  assert.equal(quiet.lost.length, 1, 'the control: nobody has told')
  const [found] = await audited(nc, 'ada')
  assert.ok(found !== undefined)
  assert.deepEqual(faults(found), { ...CLEAN, missing: 1 })
  await settled(box, nc, ['ada'], 'after the audit')
  await assertClean(box, ops, 'exactly once')
})

test('an audit that a restart interrupts goes on where it was', async () => {
  const halfway = Promise.withResolvers<void>()
  let stops = false
  const onAnswer = (route: string): void => {
    if (stops && route === 'gmail.messages.list') halfway.resolve()
  }
  await using box = await sandbox({ env: ENV, simulator: { onAnswer } })
  const nc = await box.connection('service')
  const a = await box.start('a')
  await box.connect(nc, 'ada', 'google', { n: 1_700, mix: { draft: 0, spam: 0, trash: 0, chat: 0 } })
  await box.allLive(nc, ['ada'])
  stops = true
  const listed = box.sim.log().length
  await ask(nc, 'ada', true)
  await halfway.promise
  await a.stop()
  await box.start('a')
  await box.allLive(nc, ['ada'])
  const [found] = await until('the audit is done', async () => {
    const accounts = await ask(nc, 'ada', false)
    return accounts.every(({ state }) => state === 'done') && accounts
  })
  assert.ok(found !== undefined)
  assert.deepEqual([faults(found), found.provider_total, found.passes], [CLEAN, 1_700, 1])
  const lists = box.sim
    .log()
    .slice(listed)
    .filter(({ route }) => route === 'gmail.messages.list').length
  assert.ok(lists <= 5, `${lists} lists: four pages, one of which may have been under way`)
})

test('the control: with the comparison switched off nothing of it is found', async () => {
  await using box = await sandbox({ env: ENV })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a', { controls: { auditCompares: false } })
  await box.connect(nc, 'first', 'google', { n: 3 })
  await box.allLive(nc, ['first'])
  await box.connect(nc, 'ada', 'google', { n: 30 })
  await box.allLive(nc, ['ada'])
  const before = await eventsOf(ops, 'ada')
  loseRow(box, 10)
  await (await jetstreamManager(ops)).streams.purge(EVENT_STREAM, {
    filter: eventSubject('ada'),
    seq: before[5]?.seq ?? 0,
  })
  await jetstream(ops).publish(eventSubject('ada'), JSON.stringify(before[9]?.event))
  const [found] = await audited(nc, 'ada')
  assert.ok(found !== undefined)
  assert.deepEqual(faults(found), CLEAN)
})
