import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Priority, ProviderError } from '../../../services/mail/provider/provider.ts'
import { MailboxLimiter, TokenBucket } from '../../../services/mail/sync/limiter.ts'
import { ManualClock } from '../base/manual-clock.ts'

const never = new AbortController().signal

function limiterOf({ capacity = 100, perS = 10, start = 8, max = 8 } = {}) {
  const clock = new ManualClock()
  const bucket = new TokenBucket(capacity, perS / 1_000, clock)
  return { clock, bucket, limiter: new MailboxLimiter([bucket], { start, max }, clock) }
}

/** Runs requests that end when told, and notes the order and time of their starts. */
function recorder(limiter: MailboxLimiter, clock: ManualClock) {
  const started: string[] = []
  const times: number[] = []
  const ends: (() => void)[] = []
  const ask = (name: string, cost: number, priority: Priority = 'backfill', signal = never): Promise<string> =>
    limiter.run(cost, priority, signal, async () => {
      started.push(name)
      times.push(clock.monoMs())
      await new Promise<void>((resolve) => ends.push(resolve))
      return name
    })
  const endAll = (): void => {
    for (const end of ends.splice(0)) end()
  }
  return { started, times, ask, endAll }
}

test('tokens are never spent faster than burst and rate allow, in any span of time', async () => {
  const { clock, limiter } = limiterOf({ capacity: 100, perS: 10 })
  const spent: { atMs: number; cost: number }[] = []
  const costs = [20, 5, 20, 1, 60, 20, 2, 20, 5, 20, 1, 1, 1, 99, 20, 20]
  const done = Promise.all(
    costs.map((cost) =>
      limiter.run(cost, 'incremental', never, async () => {
        spent.push({ atMs: clock.monoMs(), cost })
      }),
    ),
  )
  await clock.advance(120_000)
  await done
  for (const [i, { atMs: fromMs }] of spent.entries()) {
    let sum = 0
    for (const { atMs, cost } of spent.slice(i)) {
      sum += cost
      assert.ok(sum <= 100 + ((atMs - fromMs) / 1_000) * 10 + 1e-6, `${sum} tokens in ${atMs - fromMs} ms`)
    }
  }
  assert.equal(clock.sleeping, 0)
})

test('a request dearer than the whole burst waits for a full bucket and is paid for afterwards', async () => {
  const { clock, limiter } = limiterOf({ capacity: 100, perS: 10 })
  const { times, ask, endAll } = recorder(limiter, clock)
  const asked = [ask('dear', 250, 'incremental'), ask('next', 10, 'incremental')]
  await clock.advance(60_000)
  assert.deepEqual(times, [0, 16_000], 'the debt of 150 and the next 10 take 16 s')
  endAll()
  await Promise.all(asked)
})

test('turns go by priority, and within one in the order of asking', async () => {
  const { clock, limiter } = limiterOf({ start: 1, max: 1 })
  const { started, ask, endAll } = recorder(limiter, clock)
  const asked = [
    ask('b1', 1, 'backfill'),
    ask('r1', 1, 'refill'),
    ask('b2', 1, 'backfill'),
    ask('c1', 1, 'connect'),
    ask('i1', 1, 'incremental'),
    ask('i2', 1, 'incremental'),
  ]
  for (const _ of asked) {
    await clock.advance(0)
    endAll()
  }
  await Promise.all(asked)
  assert.deepEqual(started, ['b1', 'i1', 'i2', 'c1', 'b2', 'r1'])
})

test('backfill leaves a quarter of the burst to the others', async () => {
  const { clock, limiter } = limiterOf({ capacity: 100, perS: 1 })
  const { started, ask, endAll } = recorder(limiter, clock)
  const asked = [ask('b1', 70), ask('b2', 10)]
  await clock.advance(0)
  assert.deepEqual(started, ['b1'])
  asked.push(ask('poll', 25, 'incremental'))
  await clock.advance(0)
  assert.deepEqual(started, ['b1', 'poll'])
  await clock.advance(30_000)
  assert.deepEqual(started, ['b1', 'poll', 'b2'], '5 left, 30 more: 10 and the reserve of 25')
  endAll()
  await Promise.all(asked)
})

test('an announced pause holds for everybody, and a shorter one does not end it', async () => {
  const { clock, limiter } = limiterOf()
  const { times, ask, endAll } = recorder(limiter, clock)
  limiter.throttled(60_000)
  limiter.throttled(1_000)
  const asked = ask('poll', 1, 'incremental')
  await clock.advance(59_999)
  assert.deepEqual(times, [])
  await clock.advance(1)
  assert.deepEqual(times, [60_000])
  endAll()
  await asked
})

test('a refusal that announces a pause holds at once, before whoever asked has read it', async () => {
  const { clock, limiter } = limiterOf({ start: 1, max: 1 })
  const { started, times, ask, endAll } = recorder(limiter, clock)
  const refused = limiter.run(1, 'backfill', never, async () => {
    throw new ProviderError('throttled', { operation: 'gmail.messages.get', retryAfterMs: 4_000 })
  })
  const asked = ask('next', 1, 'incremental')
  await assert.rejects(refused, ProviderError)
  assert.deepEqual(started, [])
  await clock.advance(4_000)
  assert.deepEqual(times, [4_000])
  endAll()
  await asked
})

test('a refusal of the whole project holds for every mailbox at once', async () => {
  const clock = new ManualClock()
  const project = new TokenBucket(100, 1, clock)
  const [ada, grace] = [1, 2].map(
    () => new MailboxLimiter([new TokenBucket(100, 1, clock), project], { start: 8, max: 8 }, clock),
  )
  assert.ok(ada !== undefined && grace !== undefined)
  const refused = ada.run(1, 'backfill', never, async () => {
    throw new ProviderError('throttled', { operation: 'gmail.profile', scope: 'project' })
  })
  await assert.rejects(refused, ProviderError)
  const { times, ask, endAll } = recorder(grace, clock)
  const asked = ask('poll', 1, 'incremental')
  await clock.advance(5_000)
  assert.deepEqual(times, [1_000], 'a refusal without a time holds for a second')
  endAll()
  await asked
})

test('a pause of the shared project holds for every mailbox', async () => {
  const clock = new ManualClock()
  const project = new TokenBucket(100, 1, clock)
  const limiters = [1, 2].map(
    () => new MailboxLimiter([new TokenBucket(100, 1, clock), project], { start: 8, max: 8 }, clock),
  )
  project.pause(5_000)
  const times: number[] = []
  const asked = limiters.map((limiter) =>
    limiter.run(1, 'incremental', never, async () => {
      times.push(clock.monoMs())
    }),
  )
  await clock.advance(10_000)
  await Promise.all(asked)
  assert.deepEqual(times, [5_000, 5_000])
})

test('throttling halves the requests in flight down to one; success brings them back one by one', async () => {
  const { clock, limiter } = limiterOf({ capacity: 100_000, perS: 100_000, start: 8, max: 8 })
  const inFlight = async (): Promise<number> => {
    const { started, ask, endAll } = recorder(limiter, clock)
    const asked = Array.from({ length: 10 }, (_, i) => ask(`${i}`, 1, 'incremental'))
    await clock.advance(0)
    const atOnce = started.length
    while (started.length < 10) {
      endAll()
      await clock.advance(0)
    }
    endAll()
    await Promise.all(asked)
    return atOnce
  }
  assert.equal(await inFlight(), 8)
  limiter.throttled(0)
  assert.equal(await inFlight(), 4)
  for (let i = 0; i < 5; i++) limiter.throttled(0)
  assert.equal(await inFlight(), 1)
  await clock.advance(30_000)
  await inFlight()
  assert.equal(await inFlight(), 2)
  for (let i = 0; i < 40; i++) {
    await clock.advance(30_000)
    await inFlight()
  }
  assert.equal(await inFlight(), 8, 'never more than the most')
})

test('the pace is halved by throttling and comes back 5 % at a time', async () => {
  const { clock, limiter, bucket } = limiterOf({ capacity: 10, perS: 10 })
  bucket.take(10)
  limiter.throttled(0)
  assert.equal(bucket.waitMs(10, 0), 2_000)
  await clock.advance(30_000)
  await limiter.run(0, 'incremental', never, async () => undefined)
  bucket.take(10)
  assert.equal(bucket.waitMs(10, 0), Math.ceil(10 / (0.01 * 0.55)))
})

test('accounts that share a mailbox each take their part of its quota and of its requests in flight', async () => {
  const { clock, limiter, bucket } = limiterOf({ capacity: 10, perS: 10, start: 3, max: 3 })
  limiter.setSharers(3)
  bucket.take(10)
  assert.equal(bucket.waitMs(10, 0), 3_000)
  await clock.advance(30_000)
  const { started, ask, endAll } = recorder(limiter, clock)
  const asked = [ask('a', 1), ask('b', 1)]
  await clock.advance(0)
  assert.deepEqual(started, ['a'])
  endAll()
  await clock.advance(0)
  endAll()
  await Promise.all(asked)
  limiter.setSharers(1)
  await clock.advance(30_000)
  assert.equal(bucket.waitMs(10, 0), 0)
  bucket.take(10)
  assert.equal(bucket.waitMs(10, 0), 1_000)
})

test('an aborted wait costs nothing, frees its place and leaves no timer behind', async () => {
  const { clock, limiter } = limiterOf({ capacity: 10, perS: 1 })
  const { started, ask, endAll } = recorder(limiter, clock)
  const first = ask('first', 10, 'incremental')
  const stop = new AbortController()
  const second = ask('second', 10, 'incremental', stop.signal)
  await clock.advance(0)
  assert.equal(clock.sleeping, 1)
  stop.abort(new Error('over'))
  await assert.rejects(second, /over/)
  assert.equal(clock.sleeping, 0, 'an hour-long pause must not keep a stopped process alive')
  const third = ask('third', 5, 'incremental')
  await clock.advance(5_000)
  assert.deepEqual(started, ['first', 'third'])
  endAll()
  await Promise.all([first, third])
  await assert.rejects(ask('late', 1, 'incremental', AbortSignal.abort(new Error('before'))), /before/)
})

test('a request that fails gives its place back', async () => {
  const { limiter } = limiterOf({ start: 1, max: 1 })
  await assert.rejects(
    limiter.run(1, 'backfill', never, () => Promise.reject(new Error('refused'))),
    /refused/,
  )
  assert.equal(await limiter.run(1, 'backfill', never, async () => 'next'), 'next')
})

test('closing refuses who waits and who comes, and leaves no timer behind', async () => {
  const { clock, limiter } = limiterOf({ capacity: 1, perS: 1 })
  await limiter.run(1, 'incremental', never, async () => undefined)
  const waiting = limiter.run(1, 'incremental', never, async () => undefined)
  limiter.close()
  await assert.rejects(waiting, /limiter closed/)
  await assert.rejects(
    limiter.run(1, 'incremental', never, async () => undefined),
    /limiter closed/,
  )
  assert.equal(clock.sleeping, 0)
})

test('a divided bucket keeps no more than its new size, and fills at its part of the rate', async () => {
  const { clock, bucket } = limiterOf({ capacity: 80, perS: 4_000 })
  bucket.divide(4)
  assert.deepEqual([bucket.capacity, bucket.waitMs(20, 0)], [20, 0])
  bucket.take(20)
  assert.equal(bucket.waitMs(15, 0), 15, 'one a millisecond')
  await clock.advance(60_000)
  assert.equal(bucket.waitMs(20, 0), 0)
  bucket.take(20)
  assert.equal(bucket.waitMs(3, 0), 3, 'no more than 20 were there')
})

test('a bucket that gets a larger part holds what it held, and earns the rest', async () => {
  const { clock, bucket } = limiterOf({ capacity: 80, perS: 4_000 })
  bucket.divide(4)
  bucket.divide(1)
  assert.deepEqual([bucket.capacity, bucket.waitMs(20, 0)], [80, 0])
  assert.equal(bucket.waitMs(60, 0), 10)
  bucket.divide(1)
  assert.equal(bucket.waitMs(60, 0), 10, 'the same part again changes nothing')
  await clock.advance(15)
  assert.equal(bucket.waitMs(80, 0), 0)
})
