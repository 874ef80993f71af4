/** The era of the leases: one for each time that the bucket went backwards, however many notice it, and however often. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BUCKET_LEASES } from '#shared/subjects.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { LeaseLog } from '../../../services/mail/kv/lease-log.ts'
import { outrank } from '../../../services/mail/owner/lease.ts'
import { StaleEpochError } from '../../../services/mail/store/user-store.ts'
import { until } from '../../support/until.ts'
import { type KvBox, kvBox, log } from '../kv/support.ts'

const MINE = { v: 1, kind: 'lease', owner: 'mine' } as const

async function leaseLogs(box: KvBox, count: number) {
  const bucketOf = async (): Promise<Bucket> => Bucket.open(await box.connect(), BUCKET_LEASES)
  const buckets = await Promise.all(Array.from({ length: count }, bucketOf))
  return buckets.map((bucket) => {
    const leases = new LeaseLog(() => bucket, systemClock, log)
    const begun: number[] = []
    leases.onEra = () => void begun.push(leases.era)
    return { leases, begun }
  })
}

test('of those that notice at once one raises the era, and all go by it; noticed again, it rises again', async () => {
  await using box = await kvBox()
  const all = await leaseLogs(box, 2)
  const [a, b] = all.map(({ leases }) => leases)
  assert.ok(a && b)
  const created = a.era
  await Promise.all(all.map(({ leases }) => leases.wentBackwards(created)))
  assert.ok(a.era > created)
  assert.equal(b.era, a.era)
  const first = a.era
  await a.wentBackwards(first)
  assert.ok(a.era > first)
  await b.raiseEra(first)
  assert.equal(b.era, a.era)
  const far = a.era + 1_000_000_000_000
  await b.raiseEra(far)
  assert.equal(b.era, far + 1, 'a clock that ran ahead is left behind')
})

test('who acts on what it noticed when the new era has come already begins no other one and drops nothing', async () => {
  await using box = await kvBox()
  const stop = new AbortController()
  const all = await leaseLogs(box, 4)
  const running = all.map(({ leases }) => leases.run(stop.signal))
  const [first, ...later] = all
  assert.ok(first)
  const eraThen = first.leases.era
  await first.leases.wentBackwards(eraThen)
  const { era } = first.leases
  const revision = await first.leases.writeLease('ada', MINE, null)
  for (const { leases } of later) {
    await until('the watch brings the era', () => leases.era === era && leases.leases.has('ada'))
    await leases.wentBackwards(eraThen)
    assert.equal(leases.leases.get('ada')?.revision, revision)
  }
  // The answer to the write was lost, and what is to be done is done again.
  await first.leases.wentBackwards(eraThen)
  assert.equal(await first.leases.lookUpEra(), era)
  assert.deepEqual(
    all.map(({ begun }) => begun),
    Array.from(all, () => [era]),
  )
  stop.abort()
  await Promise.all(running)
})

test('an epoch of an era that is over gives way; one of the present era that is refused all the same raises it', async () => {
  await using box = await kvBox()
  const [first, second] = (await leaseLogs(box, 2)).map(({ leases }) => leases)
  assert.ok(first && second)
  const old = first.era
  await first.wentBackwards(old)
  const { era } = first
  const rev = await second.writeLease('ada', MINE, null)
  await outrank('ada', new StaleEpochError({ era: old, rev }, { era, rev: 1 }), second)
  assert.deepEqual([await first.lookUpEra(), second.era], [era, era], 'the next try carries the right era')
  await outrank('ada', new StaleEpochError({ era, rev }, { era, rev: rev - 1 }), second)
  await outrank('ada', new StaleEpochError({ era, rev: rev - 1 }, { era, rev }), second)
  assert.equal(await first.lookUpEra(), era, 'it is lower, or another owner was first')
  await outrank('ada', new StaleEpochError({ era, rev }, { era, rev: rev + 1 }), second)
  assert.ok((await first.lookUpEra()) > era)
  const far = (await first.lookUpEra()) + 1_000_000_000_000
  await outrank('ada', new StaleEpochError({ era, rev }, { era: far, rev: 1 }), second)
  assert.ok(second.era > far)
})
