/** How large a batch is, and that nobody waits because of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Priority } from '../../../services/mail/provider/provider.ts'
import { MailboxLimiter, TokenBucket } from '../../../services/mail/sync/limiter.ts'
import { ManualClock } from '../base/manual-clock.ts'

const never = new AbortController().signal

function limiterOf(capacity: number, perS: number) {
  const clock = new ManualClock()
  const bucket = new TokenBucket(capacity, perS / 1_000, clock)
  return { clock, bucket, limiter: new MailboxLimiter([bucket], { start: 2, max: 8 }, clock) }
}

test('a batch holds what is granted within 1.6 s, and leaves the reserve to those who do not wait', async () => {
  const { clock, limiter, bucket } = limiterOf(1_000, 80)
  assert.equal(limiter.batchSize(20, 'backfill'), 25, 'never more')
  assert.equal(limiter.batchSize(100, 'backfill'), 7, '1000 less a quarter')
  bucket.take(750)
  assert.equal(limiter.batchSize(20, 'backfill'), 6)
  assert.equal(limiter.batchSize(20, 'incremental'), 18)
  assert.equal(limiter.batchSize(100, 'backfill'), 1, 'one at least')
  const started: [string, number][] = []
  const ask = (name: string, cost: number, priority: Priority) =>
    limiter.run(cost, priority, never, async () => void started.push([name, clock.monoMs()]))
  const batch = ask('batch', 6 * 20, 'backfill')
  await clock.advance(400)
  await ask('poll', 2, 'incremental')
  assert.deepEqual(started, [['poll', 400]])
  await clock.advance(1_200)
  await batch
  assert.deepEqual(started[1], ['batch', 1_525], 'later by what the poll has cost')
})

test('a batch holds no more than the project grants', () => {
  const clock = new ManualClock()
  const project = new TokenBucket(100, 0.02, clock)
  const limiter = new MailboxLimiter([new TokenBucket(1_000, 1, clock), project], { start: 8, max: 8 }, clock)
  assert.equal(limiter.batchSize(20, 'backfill'), 5)
  project.take(100)
  assert.equal(limiter.batchSize(20, 'backfill'), 1)
})

test('throttling halves batches down to one; success brings them back one by one', async () => {
  const { clock, limiter } = limiterOf(100_000, 100_000)
  const sizes: number[] = []
  for (let i = 0; i < 6; i++) {
    limiter.throttled(0)
    sizes.push(limiter.batchSize(1, 'backfill'))
  }
  assert.deepEqual(sizes, [12, 6, 3, 1, 1, 1])
  const success = () => limiter.run(0, 'incremental', never, async () => undefined)
  await success()
  assert.equal(limiter.batchSize(1, 'backfill'), 1, 'not at once')
  for (let i = 2; i <= 30; i++) {
    await clock.advance(30_000)
    await success()
    await success()
    assert.equal(limiter.batchSize(1, 'backfill'), Math.min(25, i))
  }
})
