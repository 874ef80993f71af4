import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setAsideDelayMs } from '../../../services/mail/base/backoff.ts'
import type { LaneState } from '../../../services/mail/base/model.ts'
import { emptyPage, type Page } from '../../../services/mail/provider/provider.ts'
import {
  EMPTY_QUEUE,
  enqueue,
  queueDepth,
  queuedIds,
  type Taken,
  take,
} from '../../../services/mail/store/fetch-queue.ts'
import { readLanes } from '../../../services/mail/store/lanes.ts'
import { knownIds } from '../../../services/mail/store/messages.ts'
import { endRebuild } from '../../../services/mail/store/meta.ts'
import { outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import { commitPage, isIdle, movedLanes, newLane } from '../../../services/mail/sync/commit-page.ts'
import { ACCOUNT, EPOCH, mail, storeBox } from '../store/support.ts'

const NOW = 1_700_000_000_000
const USER = ACCOUNT.userId
const ASKED = { asked: { lane: 'enum', cursor: 'e1' }, epoch: EPOCH }
const page = (more: Partial<Page>): Page => ({ ...emptyPage(), ...more })
const lanesOf = (...lanes: LaneState[]): Map<string, LaneState> => new Map(lanes.map((lane) => [lane.lane, lane]))

function adopted() {
  const box = storeBox()
  box.store.adopt(USER, EPOCH)
  return {
    ...box,
    put: (ids: string[], urgent = false) =>
      box.store.commit(USER, EPOCH, (tx) => enqueue(tx, ACCOUNT, ids, { urgent })),
    take: (nowMs = NOW): Taken[] => box.store.read(USER, (db) => take(db, ACCOUNT, nowMs, 25)),
    commit: (what: Partial<Page>, taken: readonly Taken[] = [], lanes: readonly LaneState[] = []) =>
      box.store.commit(USER, EPOCH, (tx) =>
        commitPage(tx, ACCOUNT, { page: page(what), taken, lanes, isWalk: true, ...ASKED }, NOW),
      ),
    queued: (...ids: string[]) => [...box.store.read(USER, (db) => queuedIds(db, ACCOUNT, ids))].toSorted(),
    depth: () => box.store.read(USER, (db) => queueDepth(db, ACCOUNT)),
  }
}

test('mail, its events, the queue and the lanes of a page are there together or not at all', async () => {
  await using box = adopted()
  const lane = { ...newLane('history'), cursor: '7' }
  const whole = { messages: [mail('m1'), mail('m2')], enqueue: { ids: ['m3'], urgent: false } }
  assert.throws(
    () =>
      box.store.commit(USER, EPOCH, (tx) => {
        commitPage(tx, ACCOUNT, { page: page(whole), taken: [], lanes: [lane], isWalk: true, ...ASKED }, NOW)
        throw new Error('the process dies here')
      }),
    /dies/,
  )
  const nothing = box.store.read(USER, (db) => [
    knownIds(db, ACCOUNT, ['m1', 'm2']).size,
    outboxDepth(db).pending,
    readLanes(db, ACCOUNT).length,
    queueDepth(db, ACCOUNT).entries,
  ])
  assert.deepEqual(nothing, [0, 0, 0, 0])
  const { stored, events, enqueued } = box.commit(whole, [], [lane])
  assert.deepEqual([stored, events, enqueued], [2, 2, 1])
  assert.deepEqual([box.commit(whole).stored, box.commit(whole).events], [0, 0], 'a page that comes again is silent')
})

test('an id that was queued again while it was fetched stays queued', async () => {
  await using box = adopted()
  box.put(['spam', 'mail'])
  const taken = box.take()
  // The user takes it out of spam while the answer that it is spam is under way.
  box.put(['spam'], true)
  box.commit({ drop: ['spam'], messages: [mail('mail')] }, taken)
  assert.deepEqual(box.queued('spam', 'mail'), ['spam'])
})

test('what the provider deleted leaves the queue, also while it is being fetched', async () => {
  await using box = adopted()
  box.put(['m1', 'm2'])
  const taken = box.take()
  box.commit({ drop: ['m1'] })
  assert.deepEqual(box.queued('m1', 'm2'), ['m2'])
  box.commit({ messages: [mail('m1'), mail('m2')] }, taken)
  assert.deepEqual(box.depth().entries, 0)
})

test('one bad message is set aside with a growing delay, and the others go on', async () => {
  await using box = adopted()
  box.put(['bad', 'good'])
  const taken = box.take()
  box.commit({ messages: [mail('good')], failed: [{ id: 'bad', reason: 'unreadable' }] }, taken)
  assert.deepEqual(box.depth(), {
    ...EMPTY_QUEUE,
    entries: 1,
    setAside: 1,
    nextAtMs: NOW + 5_000,
  })
  assert.deepEqual(box.take(NOW + 4_999), [])
  box.commit({ failed: [{ id: 'bad', reason: 'unreadable' }] }, box.take(NOW + 5_000))
  assert.equal(box.depth().nextAtMs, NOW + 60_000)
  for (let i = 0; i < 20; i++) box.commit({ failed: [{ id: 'bad', reason: 'refused' }] }, box.take(NOW * 2))
  assert.deepEqual(box.queued('bad'), ['bad'], 'it is never given up')
})

test('a message that is not found four times is gone, and only then', async () => {
  await using box = adopted()
  box.put(['lost'])
  const failed = [{ id: 'lost', reason: 'missing' as const }]
  for (let i = 0; i < 3; i++) assert.equal(box.commit({ failed }, box.take(NOW * 2)).gone, 0)
  assert.equal(box.depth().setAside, 0, 'a deleted message is no alarm')
  assert.equal(box.commit({ failed }, box.take(NOW * 2)).gone, 1)
  assert.equal(box.depth().entries, 0)
})

test('what it was refused for before does not count towards a message being gone', async () => {
  await using box = adopted()
  box.put(['odd'])
  for (const reason of ['unavailable', 'refused', 'unavailable', 'missing', 'missing', 'missing'] as const)
    assert.equal(box.commit({ failed: [{ id: 'odd', reason }] }, box.take(NOW * 2)).gone, 0)
  assert.equal(box.commit({ failed: [{ id: 'odd', reason: 'missing' }] }, box.take(NOW * 2)).gone, 1)
})

test('when nothing of a take is found the mailbox may be away: that is told, and a day passes before it is gone', async () => {
  await using box = adopted()
  box.put(['m1', 'm2'])
  const failed = ['m1', 'm2'].map((id) => ({ id, reason: 'missing' as const }))
  for (let i = 0; i < 3; i++) box.commit({ failed }, box.take(NOW * 2))
  assert.equal(box.depth().setAside, 0)
  for (let i = 3; i < 11; i++) {
    assert.equal(box.commit({ failed }, box.take(NOW * 2)).gone, 0)
    assert.equal(box.depth().setAside, 2)
  }
  const delaysMs = Array.from({ length: 11 }, (_, i) => setAsideDelayMs(i + 1))
  assert.ok(delaysMs.reduce((sum, ms) => sum + ms) > 86_400_000)
  assert.equal(box.commit({ failed }, box.take(NOW * 2)).gone, 2)
  assert.equal(box.depth().entries, 0)
})

test('nor is it gone sooner when the page has not asked for all of the take', async () => {
  await using box = adopted()
  box.put(['m1', 'm2', 'm3'])
  const failed = ['m1', 'm2'].map((id) => ({ id, reason: 'missing' as const }))
  for (let i = 0; i < 11; i++) assert.equal(box.commit({ failed }, box.take(NOW * 2)).gone, 0)
  assert.equal(box.commit({ failed }, box.take(NOW * 2)).gone, 2)
})

test('of a take of which anything came a message that is not found is gone after four times', async () => {
  await using box = adopted()
  box.put(['lost'])
  for (let i = 0; i < 4; i++) {
    box.put([`m${i}`])
    box.commit({ messages: [mail(`m${i}`)], failed: [{ id: 'lost', reason: 'missing' }] }, box.take(NOW * 2))
  }
  assert.equal(box.depth().entries, 0)
})

test('new mail that is not there yet, or not to be had, goes before all others also when it is tried again', async () => {
  await using box = adopted()
  box.put(['old1', 'old2'])
  box.put(['absent', 'down', 'odd'], true)
  const failed = [
    { id: 'absent', reason: 'missing' as const },
    { id: 'down', reason: 'unavailable' as const },
    { id: 'odd', reason: 'unreadable' as const },
  ]
  box.commit({ failed }, box.take())
  assert.deepEqual([box.depth().urgent, box.depth().nextUrgentAtMs], [0, NOW + 5_000])
  const order = box.take(NOW + 5_000).map(({ id }) => id)
  assert.deepEqual(order, ['absent', 'down', 'old1', 'old2', 'odd'])
})

test('a message that failed without having been taken is queued', async () => {
  await using box = adopted()
  box.commit({ failed: [{ id: 'odd', reason: 'unreadable' }] })
  assert.deepEqual(box.queued('odd'), ['odd'])
})

test('a lane that is done stays done while it is polled, until it starts over', () => {
  const history = { ...newLane('history'), cursor: '1', done: true }
  const moved = (cursor: string | null, done: boolean) =>
    movedLanes(page({ lanes: [{ lane: 'history', cursor, done }] }), history, lanesOf(history), NOW)[0]
  assert.equal(moved('2', false)?.done, true)
  assert.equal(moved(null, false)?.done, false)
})

test('the asked lane forgets its faults, the others keep their waits', () => {
  const asked = { ...newLane('history'), cursor: '1', done: true, failures: 3, notBeforeMs: NOW - 1 }
  const other = { ...newLane('drain'), done: true, notBeforeMs: NOW + 9, failures: 2 }
  const lanes = [{ lane: 'drain', cursor: 'x', done: true }]
  const [drain, history] = movedLanes(page({ lanes }), asked, lanesOf(asked, other), NOW)
  assert.deepEqual(drain, { ...other, cursor: 'x' })
  assert.deepEqual(history, { ...asked, failures: 0, notBeforeMs: 0, syncedMs: NOW })
})

test('a lane that another one starts over counts it, so that its page under way is void', () => {
  const all = lanesOf(newLane('history'), { ...newLane('enum'), cursor: 'page 9', done: true })
  const lanes = [
    { lane: 'history', cursor: '5', done: true },
    { lane: 'enum', cursor: null, done: false },
    { lane: 'drain', cursor: null, done: true },
  ]
  const moved = lanesOf(...movedLanes(page({ lanes }), newLane('history'), all, NOW))
  assert.deepEqual([moved.get('enum')?.resets, moved.get('enum')?.done], [1, false])
  assert.deepEqual([moved.get('history')?.resets, moved.get('drain')?.resets], [0, 0])
})

test('a dropped lane is not moved as well', () => {
  const lane = newLane('folder:1')
  assert.deepEqual(movedLanes(page({ dropLanes: ['folder:1'] }), lane, lanesOf(lane), NOW), [])
})

test('an idle poll is one that changes nothing that has to survive', () => {
  const before = lanesOf({ ...newLane('history'), cursor: '5', done: true })
  const same = { lanes: [{ lane: 'history', cursor: '5', done: true }] }
  assert.equal(isIdle(page(same), [], before), true)
  assert.equal(isIdle(page({}), [], before), true)
  const changes: Partial<Page>[] = [
    { lanes: [{ lane: 'history', cursor: '6', done: true }] },
    { lanes: [{ lane: 'folder:new', cursor: null, done: false }] },
    { ...same, messages: [mail('m')] },
    { ...same, enqueue: { ids: ['m'], urgent: true } },
    { ...same, drop: ['m'] },
    { ...same, failed: [{ id: 'm', reason: 'missing' }] },
    { ...same, dropLanes: ['folder:1'] },
  ]
  for (const change of changes) assert.equal(isIdle(page(change), [], before), false, JSON.stringify(change))
  assert.equal(
    isIdle(page(same), [{ id: 'm', seq: 1, attempts: 0, reason: null, urgent: false, listedBy: null }], before),
    false,
  )
})

test('in a gap old mail that a walk finds is stored and not published; what arrives is, whatever its date', async () => {
  await using box = adopted()
  const old = (id: string) => mail(id, { msgDate: 999 })
  box.put(['found'])
  box.put(['arrived'], true)
  const before = box.commit({ messages: [old('before')] })
  assert.deepEqual([before.events, before.doubtful], [1, 0])
  box.store.commit(USER, EPOCH, (tx) => endRebuild(tx, { 'google.primary': 1_000 }))
  const walked = { messages: [old('walked'), mail('young', { msgDate: 1_000 }), mail('undated', { msgDate: null })] }
  const walk = box.commit(walked)
  assert.deepEqual([walk.stored, walk.events, walk.doubtful], [3, 2, 1])
  const drain = box.commit({ messages: [old('found'), old('arrived')] }, box.take())
  assert.deepEqual([drain.stored, drain.events, drain.doubtful], [2, 1, 1])
  const step = { page: page({ messages: [old('polled')] }), taken: [], lanes: [], isWalk: false, ...ASKED }
  const poll = box.store.commit(USER, EPOCH, (tx) => commitPage(tx, ACCOUNT, step, NOW))
  assert.deepEqual([poll.events, poll.doubtful], [1, 0])
  const other = { ...ACCOUNT, inboxId: 'later' }
  const later = { page: page({ messages: [old('later')] }), taken: [], lanes: [], isWalk: true, ...ASKED }
  const connected = box.store.commit(USER, EPOCH, (tx) => commitPage(tx, other, later, NOW))
  assert.deepEqual([connected.events, connected.doubtful], [1, 0], 'of another account nothing was published before')
})
