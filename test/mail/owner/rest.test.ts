/** A user in whose mailbox nothing is left to do but polls rests with its new owner until the next poll is due. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { leaseKey, sessionKey } from '#shared/subjects.ts'
import { firstMomentMs, nextPollMs, slotOf } from '../../../services/mail/base/slot.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { endBefore, startTime, toldStartTime } from '../../../services/mail/owner/start-time.ts'
import { until } from '../../support/until.ts'
import { steady } from '../sync/plain-worker.ts'
import { type Node, type OwnerBox, ownerBox } from './support.ts'

const USER = 'ada'
/** Nobody waits so long here: whoever starts does so because of something else. */
const LONG_MS = 30 * 86_400_000
const MINUTE_MS = 60_000

const isLive = (node: Node) =>
  until('the mailbox is live', () => node.supervisor.tenures.get(USER)?.statuses()?.[0]?.state === 'live')
const owns = (node: Node) => until(`${node.name} owns the user`, () => node.supervisor.owns(USER))

/** The user was worked for by `a`, which has ended; `b` owns it now. */
async function movedTo(box: OwnerBox, intervalMs: number): Promise<Node> {
  const a = await box.node('a', { tenure: { pace: steady(intervalMs) } })
  a.run()
  await box.put(a, USER)
  await isLive(a)
  await a.end()
  const b = await box.node('b', { tenure: { pace: steady(intervalMs) } })
  b.run()
  await owns(b)
  return b
}

test('it is owned, counts as what it was, and is started by a question for its status', async () => {
  await using box = await ownerBox()
  const b = await movedTo(box, LONG_MS)
  await until('what was known is there', () => b.supervisor.tenures.get(USER)?.rest.known[0] === 'live')
  assert.deepEqual([b.supervisor.tenures.get(USER)?.statuses(), b.provider.asked.length], [null, 0])
  // A question waits a moment for the start, which takes longer on a busy machine.
  const status = await until('it answers', async () => (await b.supervisor.statuses(USER))?.[0])
  assert.deepEqual([status.state, status.live, status.instance], ['live', true, 'b'])
})

test('it is started when its next poll is due, and at once when one came due while it had no owner', async () => {
  await using box = await ownerBox()
  const b = await movedTo(box, LONG_MS)
  // Midway between two polls of the user.
  const wallMs = (): number => 1_700_000_040_000 + firstMomentMs(slotOf(USER), steady(MINUTE_MS)) + 30_000
  const clock = { ...systemClock, wallMs, monoMs: () => 100_000 }
  const deps = { ...b.tenure, clock, pace: steady(MINUTE_MS), silenceMs: 6_000 }
  const restMs = async (how: 'released' | 'died', agoMs: number) =>
    (await startTime(USER, { how, seenMonoMs: 100_000 - agoMs }, deps)).restMs
  assert.deepEqual([await restMs('released', 0), await restMs('died', 0)], [30_000, 30_000])
  assert.deepEqual([await restMs('released', 25_000), await restMs('died', 19_000)], [30_000, 30_000])
  assert.deepEqual([await restMs('released', 27_000), await restMs('died', 21_000)], [0, 0])
  const { dueMs } = await startTime(USER, { how: 'died', seenMonoMs: 100_000 - 81_000 }, deps)
  assert.equal(wallMs() - dueMs, 90_000, 'by how much it is late counts where many are')
  assert.equal((await startTime(USER, { how: 'cut off' }, deps)).restMs, 0)
  // Who has said when the next one is due is believed, but for a clock that is wrong.
  const quietAt = b.accounts.ofUser(USER)[0]?.revision
  const said = async (inMs: number, at = quietAt) =>
    (await startTime(USER, { how: 'released', seenMonoMs: 100_000, dueMs: wallMs() + inMs, quietAt: at }, deps)).restMs
  assert.deepEqual([await said(29_000), await said(-1_000), await said(86_400_000)], [29_000, 0, MINUTE_MS])
  // A row may wait of which the last checkpoint, written before it, knows nothing.
  const { restMs: leftMs } = await startTime(
    USER,
    { how: 'released', seenMonoMs: 100_000, dueMs: wallMs() + 29_000 },
    deps,
  )
  assert.equal(leftMs, 0, 'whoever worked for the user does not say that only polls are left')
})

test('a quiet mailbox is polled by the next owner at the very moment at which the one before would have done it', async () => {
  await using box = await ownerBox()
  const b = await movedTo(box, LONG_MS)
  const newsMs = (await b.checkpoints.read(USER))?.record.newsMs?.['google.primary'] ?? assert.fail('no news')
  assert.ok(Math.abs(newsMs - Date.now()) < MINUTE_MS, 'mail came when it was connected')
  const pace = { intervalMs: MINUTE_MS, intervalMaxMs: 8 * MINUTE_MS }
  let atMs = newsMs
  const clock = { ...systemClock, wallMs: () => atMs, monoMs: () => atMs }
  const deps = { ...b.tenure, clock, pace, silenceMs: 6_000 }
  const gapsMs = new Set<number>()
  const schedule = { pace, slot: slotOf(USER), newsMs }
  for (let moment = nextPollMs(newsMs, schedule); moment < newsMs + 3 * 3_600_000; ) {
    const nextMs = nextPollMs(moment, schedule)
    gapsMs.add(nextMs - moment)
    // The owner dies after its poll, or releases the user without having said when the next one is due.
    atMs = moment + 30_000
    for (const how of ['died', 'released'] as const)
      assert.equal((await startTime(USER, { how, seenMonoMs: moment + 10_500 }, deps)).dueMs, nextMs)
    moment = nextMs
  }
  assert.deepEqual(
    [...gapsMs],
    [1, 2, 4, 8].map((n) => n * MINUTE_MS),
  )
})

test('who was told that only polls are left looks nothing up, unless a record is another one than was known', async () => {
  await using box = await ownerBox()
  const b = await movedTo(box, LONG_MS)
  const { revision = 0 } = b.accounts.ofUser(USER)[0] ?? {}
  const nowMs = b.tenure.clock.wallMs()
  const told = (quietAt?: number, dueMs?: number) =>
    toldStartTime(USER, { how: 'released', seenMonoMs: 0, dueMs, quietAt }, b.tenure)
  assert.deepEqual(told(revision, nowMs)?.known, ['live'])
  assert.ok((told(revision, nowMs + MINUTE_MS)?.restMs ?? 0) > 0)
  assert.equal(told(revision, nowMs)?.restMs, 0, 'it should have been polled meanwhile')
  assert.deepEqual([told(revision - 1, nowMs), told(revision + 1, nowMs)], [null, null])
  assert.deepEqual([told(undefined, nowMs), told(revision)], [null, null])
  assert.equal(toldStartTime(USER, { how: 'cut off' }, b.tenure), null)
  await box.put(b, USER, { revoke: 'a grant' })
  await until('the record is known', () => (b.accounts.ofUser(USER)[0]?.revision ?? 0) > revision)
  assert.equal(told(b.accounts.ofUser(USER)[0]?.revision, nowMs), null)
})

test('a release tells that only polls are left, and tells it not while mail is still read', async () => {
  await using box = await ownerBox()
  const a = await box.node('a')
  const page = Promise.withResolvers<Record<string, never>>()
  const { answer } = a.provider
  a.provider.answer = () => page.promise
  a.run()
  await box.put(a, USER)
  await until('the first page is on its way', () => a.provider.asked.length > 0)
  assert.equal(a.supervisor.tenures.get(USER)?.last.quietAt, null)
  a.provider.answer = answer
  page.resolve({})
  await isLive(a)
  const { revision } = a.accounts.ofUser(USER)[0] ?? {}
  await until('all is on the stream', () => a.supervisor.tenures.get(USER)?.last.quietAt === revision)
  await a.end()
  const b = await box.node('b', { tenure: { pace: steady(LONG_MS) } })
  await until('b has seen it', () => b.leases.leases.get(USER)?.record.quiet_at === revision)
})

test('it is started by a change of its account', async () => {
  await using box = await ownerBox()
  const b = await movedTo(box, LONG_MS)
  await box.put(b, USER, { desired: 'disconnected', credential: null })
  // The tenure ends a moment before the lease is returned.
  await until('it is released', () => !b.supervisor.owns(USER) && b.leases.ownerOf(USER) === null)
})

test('it is handed on without having been started', async () => {
  await using box = await ownerBox()
  const b = await movedTo(box, LONG_MS)
  await b.end()
  const c = await box.node('c', { tenure: { pace: steady(200) } })
  c.run()
  await owns(c)
  await until('it is polled', () => c.provider.asked.length > 2)
  assert.deepEqual([b.provider.asked.length, b.workers.length], [0, 0])
})

test('a mailbox that is not live is started at once', async () => {
  await using box = await ownerBox()
  const a = await box.node('a')
  a.provider.answer = (_call, { signal }) =>
    new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  a.run()
  await box.put(a, USER)
  await until('it is walked', () => a.provider.asked.length > 0)
  await a.end()
  const b = await box.node('b', { tenure: { pace: steady(LONG_MS) } })
  b.run()
  await isLive(b)
})

test('how the term before has ended: cut off where its database is, and where nobody has seen its end', async () => {
  await using box = await ownerBox()
  const node = await box.node('b')
  const { leases } = node
  const lease = { v: 1, kind: 'lease' } as const
  const session = { v: 1, kind: 'session', name: 'a', address: 'x', directory: 'd', n: 0, version: '0.0.0' } as const
  const write = (owner: string | null, name: string) => {
    const revision = (leases.leases.get(USER)?.revision ?? 1) + 1
    leases.replica.note(leaseKey(USER), { ...lease, owner, name }, revision)
    return endBefore(USER, { sid: 'mine', name: 'b' }, leases).how
  }
  leases.replica.note(sessionKey('gone'), { ...session, state: 'dead' }, 1)
  assert.equal(endBefore(USER, { sid: 'mine', name: 'b' }, leases).how, 'cut off')
  assert.deepEqual([write('gone', 'b'), write('gone', 'a'), write('unseen', 'a')], ['cut off', 'died', 'cut off'])
  assert.deepEqual([write(null, 'a'), write('mine', 'b')], ['released', 'released'])
})
