/** A wall clock that somebody sets, and pauses that outlive a restart: what waits comes neither early nor days late. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LaneState } from '../../../services/mail/base/model.ts'
import { type Page, ProviderError } from '../../../services/mail/provider/provider.ts'
import { putAudit } from '../../../services/mail/store/audits.ts'
import { enqueue } from '../../../services/mail/store/fetch-queue.ts'
import { putLane } from '../../../services/mail/store/lanes.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { accountStatus } from '../../../services/mail/sync/status.ts'
import type { Worker } from '../../../services/mail/sync/worker.ts'
import { ACCOUNT, EPOCH, mail } from '../store/support.ts'
import { PROVEN, steady } from './plain-worker.ts'
import { WorkerBox } from './worker-box.ts'

const HOUR_MS = 3_600_000
const DAYS_MS = 3 * 24 * HOUR_MS

const doneAt = (lane: string, cursor: string): Page['lanes'][number] => ({ lane, cursor, done: true })
function had(box: WorkerBox, ...lanes: Partial<LaneState>[]): void {
  box.store.commit(ACCOUNT.userId, EPOCH, (tx) => {
    for (const lane of lanes) putLane(tx, ACCOUNT, { ...newLane('history'), cursor: 'c', done: true, ...lane })
    putAudit(tx, ACCOUNT, PROVEN)
  })
}
/** A new position at each poll, so that each is written. */
function movesOn(box: WorkerBox): void {
  let n = 0
  box.provider.answer = ({ lane }) => ({ lanes: [doneAt(lane, `${lane}${++n}`)] })
}
const stateOf = (box: WorkerBox, worker: Worker): string =>
  accountStatus({
    provider: 'google',
    inboxId: 'primary',
    state: worker.state,
    outbox: { pending: 0, oldestTsMs: null, error: null, streamReset: false, gapBefore: null },
    polled: (lane) => box.provider.polled(lane),
    nowMs: box.clock.wallMs(),
    pace: steady(30_000),
    slot: 0,
    instance: 'a',
  }).state

for (const byMs of [-DAYS_MS, DAYS_MS])
  test(`a wall clock set by ${byMs / HOUR_MS} hours changes no interval, running or after a restart`, async () => {
    await using box = new WorkerBox()
    had(box, {})
    movesOn(box)
    const { worker, end } = box.start()
    await box.clock.advance(60_500)
    assert.equal(box.of('history').length, 3)
    box.clock.jump(byMs)
    await box.clock.advance(HOUR_MS)
    assert.equal(box.of('history').length, 3 + 120)
    assert.equal(stateOf(box, worker), 'live')
    await end()
    box.clock.jump(byMs)
    const again = box.start()
    await box.clock.advance(HOUR_MS)
    assert.ok(box.of('history').length >= 3 + 240, `${box.of('history').length} polls`)
    assert.equal(stateOf(box, again.worker), 'live')
    await again.end()
  })

for (const byMs of [-DAYS_MS, DAYS_MS])
  test(`a wall clock set by ${byMs / HOUR_MS} hours changes no announced pause and no message that waits`, async () => {
    await using box = new WorkerBox()
    had(box, {}, { lane: 'drain' })
    box.store.commit(ACCOUNT.userId, EPOCH, (tx) => enqueue(tx, ACCOUNT, ['m1'], { urgent: true }))
    let refused = false
    box.provider.answer = ({ lane, take }) => {
      if (lane === 'drain' && box.of('drain').length === 1)
        return { failed: [{ id: take[0] ?? '', reason: 'unreadable' }] }
      if (lane === 'drain') return { messages: take.map((id) => mail(id)) }
      if (refused) return {}
      refused = true
      throw new ProviderError('throttled', { operation: 'test', retryAfterMs: 600_000 })
    }
    const { end } = box.start()
    await box.clock.advance(1_000)
    const asked = box.provider.asked.length
    box.clock.jump(byMs)
    await box.clock.advance(590_000)
    assert.equal(box.provider.asked.length, asked, 'the pause is kept')
    await box.clock.advance(75_000)
    assert.deepEqual([box.of('history').length > 1, box.facts().stored], [true, 1], 'and over at its time')
    await end()
  })

for (const how of ['fails', 'comes'] as const)
  test(`a wall clock that is set while a page is on its way, which then ${how}, changes no interval`, async () => {
    await using box = new WorkerBox()
    had(box, {})
    let n = 0
    box.provider.answer = async ({ lane }, { signal }) => {
      if (++n === 2) {
        await box.clock.sleep(200, signal)
        if (how === 'fails') throw new ProviderError('transient', { operation: 'test' })
      }
      return { lanes: [doneAt(lane, `c${n}`)] }
    }
    const { worker, end } = box.start()
    await box.clock.advance(30_100)
    assert.equal(box.of('history').length, 2)
    box.clock.jump(8 * HOUR_MS)
    await box.clock.advance(HOUR_MS)
    assert.ok(box.of('history').length > 2 + 115, `${box.of('history').length} polls`)
    assert.deepEqual([stateOf(box, worker), worker.state.fault], ['live', null])
    await end()
  })

test('what status shows of a fault moves along with the wall clock', async () => {
  await using box = new WorkerBox()
  had(box, {})
  box.provider.answer = () => {
    throw new ProviderError('throttled', { operation: 'test', retryAfterMs: 600_000 })
  }
  const { worker, end } = box.start()
  await box.clock.advance(1_000)
  box.clock.jump(DAYS_MS)
  await box.clock.advance(60_000)
  const { atMs, retryAtMs } = worker.state.fault ?? assert.fail('no fault')
  const now = box.clock.wallMs()
  assert.ok(atMs <= now && atMs > now - 62_000 && retryAtMs !== null && retryAtMs > now && retryAtMs < now + 600_000)
  await end()
})

test('after a restart one folder that waits holds up no other, and an announced pause of the mailbox holds up all', async () => {
  await using box = new WorkerBox()
  had(box, {}, { lane: 'folder:x', notBeforeMs: box.clock.wallMs() + 600_000 })
  movesOn(box)
  const first = box.start()
  await box.clock.advance(1_000)
  assert.deepEqual([box.of('history').length, box.of('folder:x').length], [1, 0])
  assert.equal(stateOf(box, first.worker), 'live')
  box.provider.answer = () => {
    throw new ProviderError('throttled', { operation: 'test', retryAfterMs: 300_000 })
  }
  await box.clock.advance(30_000)
  await first.end()
  const asked = box.provider.asked.length
  movesOn(box)
  const again = box.start()
  await box.clock.advance(298_000)
  assert.equal(box.provider.asked.length, asked)
  assert.equal(stateOf(box, again.worker), 'throttled')
  await box.clock.advance(60_000)
  assert.ok(box.of('history').length > 2)
  await again.end()
})

test('a limit that names no time is asked ever more seldom, and as before once it is over', async () => {
  await using box = new WorkerBox()
  had(box, {})
  box.provider.answer = () => {
    throw new ProviderError('throttled', { operation: 'test', code: 'dailyLimitExceeded', scope: 'project' })
  }
  const { end } = box.start()
  await box.clock.advance(600_000)
  assert.ok(box.of('history').length < 12, `${box.of('history').length} requests in ten minutes`)
  movesOn(box)
  await box.clock.advance(1_200_000)
  const before = box.of('history').length
  await box.clock.advance(300_000)
  assert.equal(box.of('history').length - before, 10)
  await end()
})
