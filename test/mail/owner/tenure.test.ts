/** One user under one term: workers follow the records, work ends in order, and faults of NATS end nothing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import type { Epoch } from '../../../services/mail/base/model.ts'
import { Tenure } from '../../../services/mail/owner/tenure.ts'
import { outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import { KeyUnavailableError } from '../../../services/mail/token/seal.ts'
import { eventsOf } from '../../support/ledger.ts'
import { until } from '../../support/until.ts'
import { type Node, type OwnerBox, ownerBox, TWENTY } from './support.ts'

const USER = 'ada'
const EPOCH: Epoch = { era: 1_000, rev: 1 }

async function started(node: Node, epoch = EPOCH): Promise<Tenure> {
  const host = { owns: () => true, changed: () => undefined }
  const tenure = new Tenure({ userId: USER, epoch, owner: 'sid', before: null }, host, node.tenure)
  await tenure.start()
  // The supervisor does this at every change of a record.
  node.accounts.replica.listen(() => tenure.accountsChanged())
  tenure.accountsChanged()
  return tenure
}
const isPolling = (node: Node, from = 0) => until('the mailbox is polled', () => node.provider.asked.length > from + 5)

/** A user of node a, whose mailbox is polled. */
async function polling(box: OwnerBox): Promise<{ node: Node; tenure: Tenure }> {
  const node = await box.node('a')
  await box.put(node, USER)
  const tenure = await started(node)
  await isPolling(node)
  return { node, tenure }
}

test('a worker runs while the account is connected, and again after the user has reconnected', async () => {
  await using box = await ownerBox()
  const node = await box.node('a')
  const tenure = await started(node)
  assert.equal(tenure.idle, true)
  await box.put(node, USER)
  await isPolling(node)
  await box.put(node, USER, { desired: 'disconnected', credential: null })
  await until('the worker has ended', () => tenure.idle)
  const againMs = Date.now()
  // By a clock that is ahead: it counts as now.
  await box.put(node, USER, { desired: 'connected', credential: 'second', connected_at: 4_000_000_000 })
  await isPolling(node, node.provider.asked.length)
  assert.equal(node.workers.length, 2)
  await tenure.release()
  await tenure.close()
  assert.ok((node.workers[1]?.state.newsMs ?? 0) >= againMs, 'who has just connected waits for mail')
  assert.equal((await eventsOf(await box.connect('ops'), USER)).length, TWENTY)
})

test('a user who reconnects while the old worker is still ending gets a new one', async () => {
  await using box = await ownerBox()
  const node = await box.node('a')
  const answer = Promise.withResolvers<Record<string, never>>()
  // A call that does not end when it is told to, as a write to NATS that is under way.
  node.provider.answer = () => answer.promise
  const tenure = await started(node)
  await box.put(node, USER)
  await until('a call is under way', () => node.provider.asked.length === 1)
  await box.put(node, USER, { desired: 'disconnected', credential: null })
  await box.put(node, USER, { desired: 'connected', credential: 'second' })
  answer.resolve({})
  await until('a new worker runs', () => node.workers.length === 2)
  await isPolling(node)
  assert.equal(tenure.idle, false)
  await tenure.release()
  await tenure.close()
})

test('a disconnect also ends what has ended by itself, so that the user can be released', async () => {
  await using box = await ownerBox()
  const node = await box.node('a')
  const tenure = await started(node)
  await box.put(node, USER)
  await isPolling(node)
  const [worker] = node.workers
  assert.ok(worker !== undefined)
  assert.equal(tenure.idle, false)
  node.provider.answer = () => {
    throw new KeyUnavailableError('k9')
  }
  await until('it is paused', () => worker.state.ended === 'paused')
  assert.equal(tenure.statuses()?.[0]?.state, 'paused')
  const asked = node.provider.asked.length
  await box.put(node, USER, { desired: 'disconnected', credential: null })
  await until('nothing is left', () => tenure.idle)
  assert.equal(node.provider.asked.length, asked)
  await tenure.release()
  await tenure.close()
})

test('a release ends workers, then events, then the last checkpoint', async () => {
  await using box = await ownerBox()
  const node = await box.node('a')
  await box.put(node, USER)
  const tenure = await started(node)
  await until('the first mail is stored', () => node.provider.asked.length > 1)
  await tenure.release()
  const asked = node.provider.asked.length
  const stored = node.store.read(USER, outboxDepth)
  const events = await eventsOf(await box.connect('ops'), USER)
  const record = (await node.checkpoints.read(USER))?.record
  assert.deepEqual([stored.pending, events.length], [0, stored.lastId])
  assert.equal(record?.pub, events.at(-1)?.seq)
  const [lane] = record?.lanes['google.primary'] ?? []
  assert.equal(Number(lane?.cursor) * 5, events.length, 'the checkpoint stands where the stream stands')
  tenure.accountsChanged()
  assert.equal(node.provider.asked.length, asked, 'nothing starts again')
  assert.equal(tenure.lost.aborted, false)
  await tenure.close()
  assert.equal(tenure.lost.aborted, true, 'what only waits ends after the lease was given back')
})

test('what was read back from the stream is in the checkpoint before the positions that pass over it', async () => {
  await using box = await ownerBox()
  const [a, b] = [await box.node('a'), await box.node('b')]
  await box.put(a, USER)
  const first = await started(a)
  const ops = await box.connect('ops')
  await until('all is published', async () => (await eventsOf(ops, USER)).length === TWENTY)
  // Killed before its checkpoint.
  const killed = (await a.checkpoints.read(USER))?.record
  await first.drop(new Error('killed'))
  assert.ok((killed?.pub ?? 0) < TWENTY)
  await until('b has heard of the account', () => b.accounts.ofUser(USER).length > 0)
  const second = await started(b, { ...EPOCH, rev: 2 })
  await isPolling(b)
  await second.release()
  await second.close()
  const record = (await b.checkpoints.read(USER))?.record
  const last = (await eventsOf(ops, USER)).at(-1)
  assert.deepEqual([record?.pub, record?.pubEventId], [last?.seq, last?.msgId])
  assert.equal(record?.lanes['google.primary']?.[0]?.done, true, 'the positions have passed all of it')
})

test('the release of a user to whom nothing has happened writes no checkpoint', async () => {
  await using box = await ownerBox()
  const node = await box.node('a')
  await box.put(node, USER)
  const first = await started(node)
  await isPolling(node)
  await first.release()
  await first.close()
  const tenure = await started(node, { ...EPOCH, rev: 2 })
  await isPolling(node, node.provider.asked.length)
  const before = await node.checkpoints.read(USER)
  await tenure.release()
  await tenure.close()
  assert.equal((await node.checkpoints.read(USER))?.revision, before?.revision)
})

test('a user at rest is released without being ended, and from then on nothing begins for it', async () => {
  await using box = await ownerBox()
  const { node, tenure } = await polling(box)
  const [worker] = node.workers
  await until('nothing is under way', () => worker?.isIdle === true)
  await tenure.release()
  const asked = node.provider.asked.length
  await setTimeout(5 * node.tenure.pace.intervalMs)
  assert.equal(node.provider.asked.length, asked)
  assert.equal(tenure.lost.aborted, false)
  await tenure.close()
})

test('a page under way is ended before the user is released', async () => {
  await using box = await ownerBox()
  const { node, tenure } = await polling(box)
  const answer = Promise.withResolvers<Record<string, never>>()
  node.provider.answer = () => answer.promise
  const asked = node.provider.asked.length
  await until('a call is under way', () => node.provider.asked.length > asked)
  let released = false
  const releasing = tenure.release().then(() => {
    released = true
  })
  await setTimeout(node.tenure.pace.intervalMs)
  assert.equal(released, false)
  answer.resolve({})
  await releasing
  await tenure.close()
})

test('after a fault the database is not opened again to tell what the next owner should know', async (t) => {
  await using box = await ownerBox()
  const { node, tenure } = await polling(box)
  // What is known of the outbox is old from here on.
  node.tenure.relay.recheck()
  await tenure.drop(new Error('a fault'))
  const read = t.mock.method(node.store, 'read')
  assert.equal(tenure.last.quietAt, null)
  assert.equal(read.mock.callCount(), 0)
})
