/** Accepted when: what an instance leaves behind whose disk is lost is enough: each mail once, and every row again. */
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { Objm } from '@nats-io/obj'
import type { NatsConnection } from '#shared/nats.ts'
import { BUCKET_SNAPSHOTS, BUCKET_STATE, EVENT_STREAM, stateKey } from '#shared/subjects.ts'
import type { CheckpointRecord, SnapshotPointer } from '../../../services/mail/kv/checkpoint.ts'
import { eventsOf } from '../../support/ledger.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { loseDisks } from './lost-disks.ts'
import { eventsStored, requests, SEED, storedRows, untilStatus } from './support.ts'

const ENV = { MAIL_LEASE_SILENCE_MS: '1500', MAIL_DEDUPE_WINDOW_MS: '1000' }
/** Enough for a snapshot: one is taken of 500 mails. */
const MANY = 640

async function snapshotOf(ops: NatsConnection, userId: string): Promise<SnapshotPointer | undefined> {
  const kv = await new Kvm(ops).open(BUCKET_STATE)
  return (await kv.get(stateKey(userId)))?.json<CheckpointRecord>().snapshots[0]
}

/** A live mailbox with a snapshot; what the snapshot has is on the stream no more, as if it had aged out. */
async function agedOut(box: Sandbox, nc: NatsConnection, ops: NatsConnection) {
  await box.connect(nc, 'ada', 'google', { n: MANY })
  await box.allLive(nc, ['ada'])
  const { last } = await until('there is a snapshot', () => snapshotOf(ops, 'ada'), { timeoutMs: 60_000 })
  const events = await eventsOf(ops, 'ada')
  await (await jetstreamManager(ops)).streams.purge(EVENT_STREAM, { seq: last + 1 })
  return events
}

/** What the purge pretends: the user's life is longer than the stream's memory. */
async function asIfConnectedLongAgo(ops: NatsConnection): Promise<void> {
  const kv = await new Kvm(ops).open(BUCKET_STATE)
  const entry = await kv.get(stateKey('ada'))
  assert.ok(entry !== null)
  await kv.update(stateKey('ada'), JSON.stringify({ ...entry.json<CheckpointRecord>(), bornS: 1 }), entry.revision)
}

/** After so many mails each further one is asked for in vain, as long as a test may last. */
function standStillAfter(box: Sandbox, gets: number): void {
  for (let nth = gets + 1; nth <= gets + 500; nth++)
    box.sim.faults.add({ match: { route: 'gmail.messages.get', nth }, fault: { type: '429', retryAfter: 1 } })
}

async function loseDisk(
  box: Sandbox,
  instance: Awaited<ReturnType<Sandbox['spawn']>>,
  meanwhile: () => Promise<void> = async () => undefined,
): Promise<void> {
  await instance.kill('SIGKILL')
  await meanwhile()
  await rm(join(box.dir, 'a'), { recursive: true })
  box.sim.mutate({ type: 'deliver', user: box.simUser('ada'), provider: 'google' })
  await box.spawn('a')
}

// Each has a server of its own, and most of their time is waiting.
describe('a lost disk', { concurrency: 2 }, () => {
  test('two disks lost in the middle of a backfill: nothing lost, nothing twice, nothing stuck', () =>
    loseDisks(2, 240))

  test('what has aged out of the stream is known by the snapshot: it is published once, and its rows come back', async () => {
    await using box = await sandbox({ env: ENV, simulator: { seed: SEED } })
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    const instance = await box.spawn('a')
    const before = await agedOut(box, nc, ops)
    await loseDisk(box, instance)
    const { gap_before } = await untilStatus(
      box,
      nc,
      'ada',
      'google',
      'rows are there again',
      (status) => status.live && !status.refill,
      60_000,
    )
    assert.equal(gap_before, null)
    const known = new Set(before.map(({ msgId }) => msgId))
    const late = (await eventsOf(ops, 'ada')).filter(({ seq }) => seq > (before.at(-1)?.seq ?? 0))
    assert.deepEqual(
      late.filter(({ msgId }) => known.has(msgId)),
      [],
      'nothing is published twice',
    )
    assert.equal(late.length, 1, 'the mail that came meanwhile')
    assert.equal(storedRows(box, 'a', 'ada'), known.size + 1)
  })

  test('without disk, snapshot and stream it is said that old mail is in doubt; new mail comes', async () => {
    await using box = await sandbox({ env: ENV, simulator: { seed: SEED } })
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    const instance = await box.spawn('a')
    const before = await agedOut(box, nc, ops)
    const lost = await snapshotOf(ops, 'ada')
    const store = await new Objm(jetstream(ops)).open(BUCKET_SNAPSHOTS)
    for (const { name } of await store.list()) await store.delete(name)
    await loseDisk(box, instance, () => asIfConnectedLongAgo(ops))
    const { gap_before } = await untilStatus(
      box,
      nc,
      'ada',
      'google',
      'rows are there again',
      (status) => status.live && !status.refill,
      60_000,
    )
    assert.ok(gap_before !== null && gap_before < Date.now() / 1_000 - 29 * 86_400)
    const late = (await eventsOf(ops, 'ada')).filter(({ seq }) => seq > (before.at(-1)?.seq ?? 0))
    assert.equal(late.length, 1, 'the mail that came meanwhile, and none of those that may have been published')
    assert.equal(storedRows(box, 'a', 'ada'), before.length + 1)
    await until(
      'the gap has a snapshot of its own',
      async () => (await snapshotOf(ops, 'ada'))?.sha256 !== lost?.sha256,
    )
  })

  test('what the stream knows is not fetched again, what the snapshot knows after everything else', async () => {
    await using box = await sandbox({ env: ENV, simulator: { seed: SEED } })
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    const instance = await box.spawn('a')
    // So that the disk is lost between the snapshot and the end, however slow this machine is.
    standStillAfter(box, 700)
    await box.connect(nc, 'ada', 'google', { n: 1_000 })
    const { last } = await until('there is a snapshot', () => snapshotOf(ops, 'ada'), { timeoutMs: 60_000 })
    box.sim.faults.clear()
    standStillAfter(box, 100)
    await until('there is more on the stream', async () => (await eventsStored(ops)) > last)
    await instance.kill('SIGKILL')
    box.sim.faults.clear()
    const events = await eventsOf(ops, 'ada')
    const idsOf = (isAsked: (seq: number) => boolean): Set<string> =>
      new Set(events.filter(({ seq }) => isAsked(seq)).map(({ event }) => event.provider_message_id))
    const [bySnapshot, byStream] = [idsOf((seq) => seq <= last), idsOf((seq) => seq > last)]
    await (await jetstreamManager(ops)).streams.purge(EVENT_STREAM, { seq: last + 1 })
    const before = requests(box, 'gmail.messages.get').length
    await rm(join(box.dir, 'a'), { recursive: true })
    await box.spawn('a')
    await untilStatus(
      box,
      nc,
      'ada',
      'google',
      'rows are there again',
      (s) => s.live && !s.refill && s.state === 'live',
      90_000,
    )
    const asked = requests(box, 'gmail.messages.get').slice(before)
    const ids = asked.map(({ url }) => /messages\/([^?]+)/.exec(url)?.[1] ?? '')
    assert.deepEqual(
      ids.filter((id) => byStream.has(id)),
      [],
      'the stream has the whole event',
    )
    const { must } = box.sim.truth(box.simUser('ada'), 'google')
    const mails = new Set(must)
    const [refill, backfill] = [
      ids.findIndex((id) => bySnapshot.has(id)),
      ids.findLastIndex((id) => mails.has(id) && !bySnapshot.has(id)),
    ]
    assert.ok(
      backfill >= 0 && refill > backfill,
      `refilled from ${refill} on, backfill until ${backfill} of ${ids.length}`,
    )
    assert.equal(ids.filter((id) => bySnapshot.has(id)).length, bySnapshot.size)
    const later = (await eventsOf(ops, 'ada')).map(({ event }) => event.provider_message_id)
    const all = [...bySnapshot, ...later]
    assert.deepEqual([all.length, new Set(all).size], [must.length, must.length], 'each mail once')
  })
})
