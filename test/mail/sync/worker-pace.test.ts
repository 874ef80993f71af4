/** The longer a mailbox is quiet the more seldom it is polled, and with mail at once as often as ever. In virtual time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AccountStatus } from '#shared/contract.ts'
import { toSeconds } from '../../../services/mail/base/model.ts'
import type { Page } from '../../../services/mail/provider/provider.ts'
import { putAudit } from '../../../services/mail/store/audits.ts'
import { putLane } from '../../../services/mail/store/lanes.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { accountStatus } from '../../../services/mail/sync/status.ts'
import type { Worker } from '../../../services/mail/sync/worker.ts'
import type { WorkerDeps } from '../../../services/mail/sync/worker-deps.ts'
import { ACCOUNT, EPOCH, mail } from '../store/support.ts'
import { PROVEN, steady } from './plain-worker.ts'
import { WorkerBox } from './worker-box.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const PACE = { intervalMs: 30_000, intervalMaxMs: 240_000 }
const SLOT = 0.4

type Running = { box: WorkerBox; worker: Worker; polls(): number[]; deliver(): void }

/** A mailbox that was read long ago; its first poll brings a mail if `hasMail`, and later ones what is delivered. */
function start(box: WorkerBox, hasMail: boolean, more: Partial<WorkerDeps> = {}): Running {
  box.store.commit(ACCOUNT.userId, EPOCH, (tx) => {
    putLane(tx, ACCOUNT, { ...newLane('history'), cursor: 'c0', done: true })
    putAudit(tx, ACCOUNT, PROVEN)
  })
  let waiting = hasMail ? 1 : 0
  let n = 0
  box.provider.answer = ({ lane }): Partial<Page> => {
    if (waiting === 0) return {}
    waiting--
    n++
    return { messages: [mail(`m${n}`)], lanes: [{ lane, cursor: `c${n}`, done: true }] }
  }
  const { worker } = box.start({ pace: PACE, slot: SLOT, ...more })
  const polls = (): number[] => box.of('history').map(({ atMs }) => atMs)
  return { box, worker, polls, deliver: () => void waiting++ }
}

const gapsOf = (moments: readonly number[]): number[] => moments.slice(1).map((atMs, i) => atMs - (moments[i] ?? 0))

const statusOf = ({ box, worker }: Running): AccountStatus =>
  accountStatus({
    provider: 'google',
    inboxId: 'primary',
    state: worker.state,
    outbox: { pending: 0, oldestTsMs: null, error: null, streamReset: false, gapBefore: null },
    polled: (lane) => box.provider.polled(lane),
    nowMs: box.clock.wallMs(),
    pace: worker.deps.pace,
    slot: SLOT,
    instance: 'a',
  })

test('on a quiet day the interval grows to its bound: 390 polls and not 2,880, none of which waits too long', async () => {
  await using box = new WorkerBox()
  const { polls } = start(box, true)
  await box.clock.advance(24 * HOUR_MS)
  // 20 each 30 s, 10 each minute, 10 each two minutes, and 350 in the rest of the day.
  assert.ok(Math.abs(polls().length - 390) <= 3, `${polls().length}`)
  const gaps = gapsOf(polls().slice(1))
  assert.deepEqual([...new Set(gaps)], [30_000, 60_000, 120_000, 240_000])
  assert.deepEqual(
    gaps,
    gaps.toSorted((a, b) => a - b),
  )
  const [newsMs = 0] = polls()
  for (const [i, gapMs] of gaps.entries())
    assert.ok(gapMs <= Math.max(30_000, ((polls()[i + 2] ?? 0) - newsMs) / 10), `${gapMs} at ${i}`)
})

test('with a bound that is not above the interval a quiet day is polled 2,880 times', async () => {
  await using box = new WorkerBox()
  const { polls } = start(box, true, { pace: steady(30_000) })
  await box.clock.advance(24 * HOUR_MS)
  assert.ok(Math.abs(polls().length - 2_880) <= 1, `${polls().length}`)
})

test('mail is found within the interval in force, and from then on the mailbox is polled as ever', async () => {
  await using box = new WorkerBox()
  const { polls, deliver } = start(box, true)
  await box.clock.advance(6 * HOUR_MS + 100_000)
  const before = polls().length
  const atMs = box.clock.monoMs()
  deliver()
  await box.clock.advance(240_000)
  assert.equal(box.facts().stored, 2)
  const found = polls().slice(before)
  assert.ok((found[0] ?? Number.POSITIVE_INFINITY) - atMs <= 240_000)
  await box.clock.advance(5 * MINUTE_MS)
  const gaps = gapsOf(polls().slice(before))
  assert.ok(gaps.length >= 10)
  assert.deepEqual(new Set(gaps), new Set([30_000]))
})

test('the status names the moment of the next poll, however long the mailbox has been quiet', async () => {
  await using box = new WorkerBox()
  const running = start(box, true)
  const startMs = box.clock.wallMs() - box.clock.monoMs()
  for (let look = 0; look < 60; look++) {
    await box.clock.advance(97_000)
    const { next_sync_at: said } = statusOf(running)
    const before = running.polls().length
    await box.clock.advance(240_000)
    assert.equal(said, toSeconds(startMs + (running.polls()[before] ?? 0)))
  }
})

test('a mailbox is not live when three polls have not come, by the interval in force', async () => {
  for (const [quietMs, intervalMs] of [
    [5 * MINUTE_MS, 30_000],
    [5 * HOUR_MS, 240_000],
  ] as const) {
    await using box = new WorkerBox()
    const running = start(box, true)
    await box.clock.advance(quietMs)
    const { answer } = box.provider
    box.provider.answer = (_request, { signal }) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    const silentMs = box.clock.monoMs() - (running.polls().at(-1) ?? 0)
    await box.clock.advance(3 * intervalMs - silentMs)
    assert.equal(statusOf(running).state, 'live', `${intervalMs}`)
    await box.clock.advance(1)
    assert.deepEqual([statusOf(running).state, statusOf(running).last_error?.code], ['retrying', 'PROVIDER_DOWN'])
    box.provider.answer = answer
  }
})

test('a first minute is never slow: who connects is polled as often as ever, empty mailbox or not seen for long', async () => {
  const inTwoMinutes = async (more: Partial<WorkerDeps>): Promise<number> => {
    await using box = new WorkerBox()
    const { polls } = start(box, false, more)
    await box.clock.advance(2 * MINUTE_MS)
    return polls().length
  }
  assert.equal(await inTwoMinutes({ bound: { mailbox: null, address: null } }), 5)
  assert.ok((await inTwoMinutes({})) <= 2, 'nobody has connected')
  await using box = new WorkerBox()
  box.provider.answer = ({ lane, cursor }) => ({
    lanes: [
      { lane, cursor: cursor ?? 'c', done: true },
      ...(lane === 'history' && cursor === null ? [{ lane: 'enum', cursor: null, done: false }] : []),
    ],
  })
  box.start({ pace: PACE, slot: SLOT })
  await box.clock.advance(2 * MINUTE_MS)
  assert.equal(box.of('enum').length, 1, 'it was read to its end, and there was nothing')
  assert.equal(box.of('history').length, 5)
})

test('a wall clock that was set changes nothing about how long the mailbox has been quiet', async () => {
  await using box = new WorkerBox()
  const { polls } = start(box, true)
  await box.clock.advance(5 * HOUR_MS)
  box.clock.jump(-3 * 24 * HOUR_MS)
  await box.clock.advance(HOUR_MS)
  const before = polls().length
  await box.clock.advance(4 * HOUR_MS)
  assert.equal(polls().length - before, 60)
})
