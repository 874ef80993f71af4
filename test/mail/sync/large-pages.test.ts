/** Pages with more mails than one transaction takes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PageRequest } from '../../../services/mail/provider/provider.ts'
import { countStored } from '../../../services/mail/store/messages.ts'
import { dueRows } from '../../../services/mail/store/outbox-rows.ts'
import { ACCOUNT, mail } from '../store/support.ts'
import { WorkerBox } from './worker-box.ts'

const USER = ACCOUNT.userId
const TOTAL = 120
const ids = Array.from({ length: TOTAL }, (_, i) => `m${i}`)

/** All mails of a folder in one page. */
function oneLargePage({ lane, cursor }: PageRequest) {
  if (lane !== 'history' || cursor !== null) return {}
  return { messages: ids.map((id) => mail(id)), lanes: [{ lane: 'history', cursor: 'h1', done: true }] }
}

/** Mails and position after each transaction that has changed one of them. */
function history(box: WorkerBox): [mails: number, cursor: string | null][] {
  const seen: [number, string | null][] = []
  box.store.onCommitted = () => {
    const mails = box.store.read(USER, (db) => countStored(db, ACCOUNT))
    const now: [number, string | null] = [mails, box.lanes().get('history')?.cursor ?? null]
    if (String(now) !== String(seen.at(-1) ?? [0, null])) seen.push(now)
  }
  return seen
}

const inOrder = (box: WorkerBox): unknown[] =>
  box.store.read(USER, (db) =>
    dueRows(db, 2 * TOTAL).map(({ payload }) => JSON.parse(String(payload)).provider_message_id),
  )

test('a large page is stored in parts, and only the last one moves the position', async () => {
  await using box = new WorkerBox()
  box.provider.answer = oneLargePage
  const seen = history(box)
  const { worker, end } = box.start()
  await box.clock.advance(1_000)
  assert.deepEqual(seen, [
    [50, null],
    [100, null],
    [TOTAL, 'h1'],
  ])
  assert.deepEqual(inOrder(box), ids)
  assert.equal(worker.state.stored, TOTAL)
  await end()
})

test('a worker that loses the user between two parts leaves the page to the next one, which stores the rest once', async () => {
  await using box = new WorkerBox()
  box.provider.answer = oneLargePage
  box.store.onCommitted = () => {
    if (box.facts().stored > 0) box.owns = false
  }
  const first = box.start()
  await box.clock.advance(1_000)
  assert.deepEqual([box.facts().stored, box.facts().events, box.lanes().has('history')], [50, 50, false])
  await first.end()
  box.store.onCommitted = () => undefined
  box.owns = true
  const second = box.start()
  await box.clock.advance(1_000)
  assert.deepEqual(inOrder(box), ids)
  assert.equal(box.lanes().get('history')?.cursor, 'h1')
  await second.end()
})

test('a lane that is started over between two parts stores no more of the page', async () => {
  await using box = new WorkerBox()
  box.provider.answer = oneLargePage
  const { worker, end } = box.start()
  box.store.onCommitted = () => {
    box.store.onCommitted = () => undefined
    const lane = worker.state.lanes.get('history')
    assert.ok(lane)
    worker.state.lanes.set('history', { ...lane, resets: lane.resets + 1, notBeforeMs: box.clock.wallMs() + 60_000 })
  }
  await box.clock.advance(1_000)
  assert.equal(box.facts().stored, 50)
  await end()
})
