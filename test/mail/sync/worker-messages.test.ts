/** Single messages that go wrong: they are set aside, counted and tried again, and stand in nobody's way. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventId } from '#shared/event.ts'
import { drainPage, type Fetcher } from '../../../services/mail/provider/drain.ts'
import { ProviderError } from '../../../services/mail/provider/provider.ts'
import { putAudit } from '../../../services/mail/store/audits.ts'
import { EMPTY_QUEUE, enqueue } from '../../../services/mail/store/fetch-queue.ts'
import { addKnown } from '../../../services/mail/store/known.ts'
import { putLane } from '../../../services/mail/store/lanes.ts'
import { storeNew } from '../../../services/mail/store/messages.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { ACCOUNT, EPOCH, mail } from '../store/support.ts'
import { PROVEN } from './plain-worker.ts'
import { WorkerBox } from './worker-box.ts'

const ids = (name: string, n: number) => Array.from({ length: n }, (_, i) => `${name}${i}`)
const refused = (status: number) =>
  new ProviderError(status >= 500 ? 'transient' : 'rejected', { operation: 'get', status })
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

/** A mailbox that is listed, with ids in its queue; `get` answers for each message, `polls` for the lane `history`. */
function mailbox(queue: { ids: string[]; urgent?: boolean }[], lanes: { enumDone?: boolean } = {}) {
  const box = new WorkerBox()
  const asked: { id: string; atMs: number }[] = []
  const script = { get: (_id: string): void => undefined, poll: (): void => undefined, getMs: 0 }
  box.store.commit(ACCOUNT.userId, EPOCH, (tx) => {
    putLane(tx, ACCOUNT, { ...newLane('history'), cursor: 'h1', done: true })
    putLane(tx, ACCOUNT, { ...newLane('enum'), cursor: 'e1', done: lanes.enumDone ?? true })
    putLane(tx, ACCOUNT, { ...newLane('drain'), done: true })
    putAudit(tx, ACCOUNT, PROVEN)
    for (const each of queue) enqueue(tx, ACCOUNT, each.ids, { urgent: each.urgent ?? false })
  })
  const fetcher: Fetcher = {
    operation: 'get',
    cost: 1,
    async get(id) {
      asked.push({ id, atMs: box.clock.monoMs() })
      script.get(id)
      return {}
    },
    judge: (id) => ({ is: 'mail', meta: mail(id) }),
    isMissing: ({ facts }) => facts.status === 404,
    refusesOne: () => false,
  }
  box.provider.answer = async (request, call) => {
    if (request.lane === 'history') script.poll()
    if (request.lane === 'enum') await box.clock.sleep(2_000, call.signal)
    if (request.lane === 'enum') return { lanes: [{ lane: 'enum', cursor: `${request.cursor}.`, done: false }] }
    if (request.lane !== 'drain') return { lanes: [{ lane: 'history', cursor: 'h1', done: true }] }
    if (script.getMs > 0) await box.clock.sleep(script.getMs, call.signal)
    return await drainPage(fetcher, request, call)
  }
  const timesOf = (id: string) => asked.filter((one) => one.id === id).map(({ atMs }) => atMs)
  return Object.assign(box, { asked, script, timesOf })
}

for (const [n, status] of [
  [1, 500],
  [10, 500],
  [25, 503],
  [1, 410],
  [1, 423],
  [12, 403],
] as const)
  test(`${n} × ${status} for single messages: all others come, these are counted, seldom tried, and come when they are well`, async () => {
    await using box = mailbox([{ ids: ids('bad', n) }, { ids: ids('good', 100) }])
    const script = box.script
    script.get = (id) => {
      if (id.startsWith('bad')) throw refused(status)
    }
    const first = box.start()
    await box.clock.advance(10 * MINUTE_MS)
    assert.equal(box.facts().stored, 100)
    await first.end()
    const second = box.start()
    assert.equal(second.worker.state.queue.setAside, n, 'they survive a restart')
    await box.clock.advance(2 * HOUR_MS)
    const { state } = second.worker
    assert.deepEqual([state.queue.setAside, state.fault, box.facts().status], [n, null, 'RETRYING'])
    assert.ok(box.timesOf('bad0').length < 30, `${box.timesOf('bad0').length} times`)
    script.get = () => undefined
    await box.clock.advance(3 * HOUR_MS)
    assert.deepEqual([box.facts().stored, box.facts().queued, box.facts().status], [100 + n, 0, 'LIVE'])
    await second.end()
  })

test('a message that cannot be had is tried with a growing delay, six hours at most, also across restarts', async () => {
  await using box = mailbox([{ ids: ['bad', 'good'] }])
  box.script.get = (id) => {
    if (id === 'bad') throw refused(503)
  }
  for (const hours of [1, 23, 24]) {
    const { end } = box.start()
    await box.clock.advance(hours * HOUR_MS)
    await end()
  }
  const times = box.timesOf('bad')
  const waits = times.slice(1).map((at, i) => at - (times[i] ?? 0))
  // Doubling from ten minutes on; a poll may come between the time and its turn.
  const planned = [5_000, MINUTE_MS, ...[10, 20, 40, 80, 160, 320, 360, 360, 360].map((minutes) => minutes * MINUTE_MS)]
  assert.ok(waits.length >= planned.length, `${waits.length} times`)
  for (const [i, delayMs] of planned.entries()) {
    const waitedMs = waits[i] ?? 0
    assert.ok(waitedMs >= delayMs && waitedMs < delayMs + MINUTE_MS, `${waitedMs} ms instead of ${delayMs}`)
  }
  assert.equal(box.timesOf('good').length, 1)
})

test('one new mail that cannot be had is set aside as soon as the provider answers something else', async () => {
  await using box = mailbox([{ ids: ['bad'], urgent: true }])
  box.script.get = () => {
    throw refused(500)
  }
  const { worker, end } = box.start()
  await box.clock.advance(1_000)
  assert.deepEqual([worker.state.fault?.code, worker.state.queue.setAside], ['PROVIDER_DOWN', 0])
  await box.clock.advance(5 * MINUTE_MS)
  assert.deepEqual([worker.state.fault, worker.state.queue.setAside], [null, 1])
  await end()
})

test('while the provider is down for everything no message is blamed', async () => {
  await using box = mailbox([{ ids: ids('m', 100) }])
  const down = () => {
    throw refused(503)
  }
  Object.assign(box.script, { get: down, poll: down })
  const { worker, end } = box.start()
  await box.clock.advance(2 * HOUR_MS)
  assert.deepEqual([worker.state.fault?.code, worker.state.queue.setAside], ['PROVIDER_DOWN', 0])
  Object.assign(box.script, { get: () => undefined, poll: () => undefined })
  await box.clock.advance(10 * MINUTE_MS)
  assert.deepEqual([box.facts().stored, worker.state.fault, box.facts().status], [100, null, 'LIVE'])
  await end()
})

for (const enumDone of [true, false])
  test(`new mail that is not there yet is asked for after 5 s, 60 s and 10 min while old mail is ${enumDone ? 'fetched' : 'listed'}`, async () => {
    await using box = mailbox([{ ids: ids('old', 8_000) }, { ids: ['new'], urgent: true }], { enumDone })
    let times = 0
    box.script.getMs = 2_000
    box.script.get = (id) => {
      if (id === 'new' && ++times < 4) throw refused(404)
    }
    const { end } = box.start()
    await box.clock.advance(20 * MINUTE_MS)
    await end()
    const at = box.timesOf('new')
    assert.equal(at.length, 4)
    for (const [i, delayMs] of [5_000, 60_000, 600_000].entries()) {
      const waitedMs = (at[i + 1] ?? 0) - (at[i] ?? 0)
      assert.ok(waitedMs >= delayMs && waitedMs < delayMs + 5_000, `${waitedMs} ms instead of ${delayMs}`)
    }
    assert.ok(box.facts().queued > 0, 'the control: old mail still waits')
  })

test('a page is told when it goes on with old mail while new mail waits to be fetched or stored', async () => {
  await using box = mailbox([{ ids: ids('old', 30) }, { ids: ['first'], urgent: true }])
  const { answer } = box.provider
  const told: [string | undefined, boolean, boolean][] = []
  let isNew = false
  box.provider.answer = async (request, call) => {
    if (request.lane === 'history' && isNew) {
      isNew = false
      return {
        enqueue: { ids: ['second', 'old29'], urgent: true },
        lanes: [{ lane: 'history', cursor: 'h1', done: true }],
      }
    }
    if (request.lane !== 'drain') return await answer(request, call)
    await box.clock.sleep(MINUTE_MS, call.signal)
    const [own = ''] = request.take
    told.push([own, request.hurries(own), request.hurries('old28')])
    return await answer(request, call)
  }
  const { end } = box.start()
  isNew = true
  await box.clock.advance(5 * MINUTE_MS)
  assert.deepEqual(told.slice(0, 3), [
    ['first', false, true],
    ['second', false, true],
    ['old17', false, false],
  ])
  await end()
})

test('new mail comes with the page that names it only while none waits that arrived before it', async () => {
  await using box = mailbox([{ ids: ['early'], urgent: true }, { ids: ids('old', 30) }])
  const told: boolean[] = []
  const { answer } = box.provider
  box.provider.answer = async (request, call) => {
    if (request.lane === 'history') told.push(request.fetchesNew)
    return await answer(request, call)
  }
  let isThere = false
  box.script.get = (id) => {
    if (id === 'early' && !isThere) throw refused(503)
  }
  box.script.getMs = HOUR_MS
  const { end } = box.start()
  await box.clock.advance(HOUR_MS / 2)
  assert.ok(told.length > 2 && !told.includes(true), 'it is being fetched')
  box.script.getMs = 0
  await box.clock.advance(HOUR_MS)
  assert.equal(told.at(-1), true, 'what was tried in vain stands in nobody’s way')
  isThere = true
  await end()
})

test('mails of a page, the queue that it shortens and its position are one transaction', async () => {
  await using box = mailbox([{ ids: ids('old', 30) }], { enumDone: false })
  let pages = 0
  box.provider.answer = async ({ lane, cursor }, call) => {
    if (lane !== 'history') await box.clock.sleep(HOUR_MS, call.signal)
    if (lane !== 'history' || cursor !== 'h1') return {}
    pages++
    const moved = { lanes: [{ lane, cursor: 'h2', done: true }] }
    return { messages: [mail('new'), mail('old7')], enqueue: { ids: ['bad'], urgent: true }, drop: ['old7'], ...moved }
  }
  const { worker, end } = box.start()
  await box.clock.advance(MINUTE_MS)
  const { stored, queued, events } = box.facts()
  assert.deepEqual([stored, queued, events, pages], [2, 30, 2, 1])
  assert.deepEqual([worker.state.lanes.get('history')?.cursor, worker.state.queue.urgent], ['h2', 1])
  await end()
})

test('a count of the queue that has gone wrong is made anew when nothing is left', async () => {
  for (const by of [1, -1]) {
    await using box = mailbox([{ ids: ids('m', 30) }])
    const { worker, end } = box.start({ committed: () => undefined })
    const { queue } = worker.state
    worker.state.queue = { ...queue, entries: queue.entries + by, waiting: queue.waiting + by }
    await box.clock.advance(MINUTE_MS)
    assert.deepEqual([worker.state.queue, box.facts().stored, worker.state.fault], [EMPTY_QUEUE, 30, null])
    await end()
  }
})

for (const [lanes, passes] of [
  [['history'], []],
  [['history', 'refill'], ['published']],
] as const)
  test(`what was published and has no row is passed over only while a refill fetches it (lanes ${lanes.join(' and ')})`, async () => {
    await using box = new WorkerBox()
    const { inboxId, userId } = ACCOUNT
    box.store.commit(userId, EPOCH, (tx) => {
      for (const lane of lanes) putLane(tx, ACCOUNT, { ...newLane(lane), cursor: 'c' })
      putAudit(tx, ACCOUNT, PROVEN)
      storeNew(tx, ACCOUNT, [mail('stored')], 1)
      addKnown(tx, eventId(userId, 'GOOGLE', inboxId, 'published'))
    })
    const seen: string[][] = []
    box.provider.answer = ({ lane, published }) => {
      if (lane === 'history') seen.push([...published(['stored', 'published', 'new'])])
      return { lanes: [{ lane, cursor: 'c', done: true }] }
    }
    const { end } = box.start()
    await box.clock.advance(1_000)
    await end()
    assert.deepEqual(seen[0], ['stored', ...passes])
  })
