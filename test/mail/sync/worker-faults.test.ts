/** What must not outlast its cause: faults of lanes that are gone, counts of pages that were rolled back, timers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import SqliteDatabase from 'better-sqlite3'
import type { Page, PageRequest } from '../../../services/mail/provider/provider.ts'
import { ProviderError } from '../../../services/mail/provider/provider.ts'
import { putAudit } from '../../../services/mail/store/audits.ts'
import { enqueue } from '../../../services/mail/store/fetch-queue.ts'
import { putLane } from '../../../services/mail/store/lanes.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { ACCOUNT, EPOCH, mail } from '../store/support.ts'
import { PROVEN } from './plain-worker.ts'
import { WorkerBox } from './worker-box.ts'

const transient = () => new ProviderError('transient', { operation: 'test' })
const doneAt = (lane: string, cursor: string) => ({ lane, cursor, done: true })

/** Puts lanes into the database as an earlier worker left them. */
function had(box: WorkerBox, ...lanes: { lane: string; cursor: string | null; done: boolean }[]): void {
  box.store.commit(ACCOUNT.userId, EPOCH, (tx) => {
    for (const lane of lanes) putLane(tx, ACCOUNT, { ...newLane(lane.lane), ...lane })
    putAudit(tx, ACCOUNT, PROVEN)
  })
}

test('the fault of a folder that is gone ends with it', async () => {
  await using box = new WorkerBox()
  had(box, doneAt('history', 'h1'), doneAt('folder:x', 'f1'))
  let dropX = false
  box.provider.answer = ({ lane }) => {
    if (lane === 'folder:x') throw transient()
    return { lanes: [doneAt('history', dropX ? 'h2' : 'h1')], dropLanes: dropX ? ['folder:x'] : [] }
  }
  const { worker, end } = box.start()
  await box.clock.advance(100)
  assert.equal(worker.state.fault?.code, 'PROVIDER_DOWN')
  dropX = true
  await box.clock.advance(30_000)
  assert.deepEqual([worker.state.fault, box.facts().status, box.lanes().has('folder:x')], [null, 'LIVE', false])
  await end()
})

test('the fault of a message that is deleted before it could be fetched ends with it', async () => {
  await using box = new WorkerBox()
  had(box, doneAt('history', 'h1'), doneAt('drain', 'd'))
  box.store.commit(ACCOUNT.userId, EPOCH, (tx) => enqueue(tx, ACCOUNT, ['m1'], { urgent: true }))
  let polls = 0
  box.provider.answer = ({ lane }) => {
    if (lane === 'drain') throw transient()
    polls += 1
    return { lanes: [doneAt('history', `h${polls}`)], drop: polls === 2 ? ['m1'] : [] }
  }
  const { worker, end } = box.start()
  await box.clock.advance(1_000)
  assert.equal(worker.state.fault?.code, 'PROVIDER_DOWN')
  await box.clock.advance(60_000)
  assert.equal(box.facts().queued, 0)
  assert.deepEqual([worker.state.fault, box.facts().status], [null, 'LIVE'])
  await end()
})

test('a folder that was dropped while a page of it was on its way does not come back by the fault of that page', async () => {
  await using box = new WorkerBox()
  had(box, doneAt('history', 'h1'), { lane: 'folder:x', cursor: 'f1', done: false })
  const page = Promise.withResolvers<Partial<Page>>()
  box.provider.answer = ({ lane }: PageRequest) =>
    lane === 'folder:x' ? page.promise : { lanes: [doneAt('history', 'h2')], dropLanes: ['folder:x'] }
  const { worker, end } = box.start()
  await box.clock.advance(100)
  assert.equal(box.lanes().has('folder:x'), false)
  page.reject(transient())
  await box.clock.advance(5_000)
  assert.deepEqual([box.lanes().has('folder:x'), worker.state.lanes.has('folder:x')], [false, false])
  assert.equal(box.of('folder:x').length, 1, 'an excluded folder must not be walked again from its start')
  await end()
})

test('a page that was rolled back is not counted as stored', async () => {
  await using box = new WorkerBox()
  const db = new SqliteDatabase(box.store.fileOf(ACCOUNT.userId))
  db.exec(
    "CREATE TRIGGER refuse BEFORE INSERT ON provider_sync_state WHEN NEW.status = 'LIVE' BEGIN SELECT RAISE(ABORT, 'no'); END",
  )
  box.provider.answer = () => ({ messages: [mail('m1')], lanes: [doneAt('history', 'h1')], syncCursor: 'h1' })
  const { worker, end } = box.start()
  await box.clock.advance(100)
  assert.equal(worker.state.fault?.code, 'INTERNAL')
  assert.deepEqual([worker.state.stored, box.facts().stored], [0, 0])
  db.exec('DROP TRIGGER refuse')
  db.close()
  await box.clock.advance(60_000)
  assert.deepEqual([worker.state.stored, box.facts().stored, box.facts().events], [1, 1, 1])
  await end()
})

test('positions without the first lane, as a cut checkpoint leaves them, are completed by it', async () => {
  await using box = new WorkerBox()
  had(box, doneAt('folder:x', 'f1'))
  box.provider.answer = ({ lane }) => ({ lanes: [doneAt(lane, 'c1')] })
  const { end } = box.start()
  await box.clock.advance(100)
  assert.deepEqual(
    box.of('history').map(({ cursor }) => cursor),
    [null],
    'without it no new folder would ever be found',
  )
  await end()
})

test('asking whose mailbox it is backs off further with each fault', async () => {
  await using box = new WorkerBox()
  box.provider.identity = () => Promise.reject(transient())
  const { end } = box.start({ bound: { mailbox: null, address: null } })
  await box.clock.advance(600_000)
  assert.ok(box.provider.identified < 15, `${box.provider.identified} times in ten minutes`)
  await end()
})

test('a worker that ends in a long pause leaves no timer behind', async () => {
  await using box = new WorkerBox()
  had(box, doneAt('history', 'h1'), { lane: 'enum', cursor: null, done: false })
  box.provider.answer = ({ lane }) => {
    if (lane === 'enum') throw new ProviderError('throttled', { operation: 'test', retryAfterMs: 3_600_000 })
    return { lanes: [doneAt('history', 'h1')], more: true }
  }
  const { end } = box.start()
  await box.clock.advance(1_000)
  await end()
  assert.equal(box.clock.sleeping, 0)
})

test('a folder that had to be started over twice waits for it, but not under another owner', async () => {
  await using box = new WorkerBox()
  had(box, doneAt('history', 'h1'), doneAt('folder:a', 'f1'))
  let gone = 2
  box.provider.answer = ({ lane }) => {
    if (lane === 'history') return { lanes: [doneAt('history', 'h1')] }
    if (gone-- > 0) throw new ProviderError('gone', { operation: 'delta' })
    return { lanes: [doneAt('folder:a', 'f2')] }
  }
  const { end } = box.start()
  await box.clock.advance(60_000)
  assert.equal(box.of('folder:a').length, 2)
  await box.clock.advance(120_000)
  assert.equal(box.of('folder:a').length, 2, 'it waits ten minutes')
  await end()
  box.start()
  await box.clock.advance(1_000)
  assert.equal(box.of('folder:a').length, 3)
})
