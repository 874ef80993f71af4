import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  depthOf,
  EMPTY_QUEUE,
  enqueue,
  fail,
  finish,
  hasQueued,
  queueDepth,
  queuedIds,
  remove,
  take,
} from '../../../services/mail/store/fetch-queue.ts'
import type { UserTx } from '../../../services/mail/store/user-store.ts'
import { ACCOUNT, EPOCH, type StoreBox, storeBox } from './support.ts'

type Client = { prepare(text: string): { all(...values: null[]): { detail: string }[] } }
const commit = <T>(box: StoreBox, fn: (tx: UserTx) => T): T => box.store.commit('ada', EPOCH, fn)
const taken = (box: StoreBox, nowMs = 1_000, limit = 10): string[] =>
  box.store.read('ada', (db) => take(db, ACCOUNT, nowMs, limit)).map(({ id }) => id)

function adopted(): StoreBox {
  const box = storeBox()
  box.store.adopt('ada', EPOCH)
  return box
}

test('urgent ids come first, all others in the order in which they were enqueued', async () => {
  await using box = adopted()
  commit(box, (tx) => {
    const put = (ids: string[], urgent = false) => enqueue(tx, ACCOUNT, ids, { urgent })
    assert.deepEqual(put(['c', 'a', 'b']), { written: 3, replaced: 0 })
    assert.deepEqual(put(['a', 'd']), { written: 1, replaced: 0 }, 'an id that waits keeps its place')
    assert.deepEqual(put(['z', 'b'], true), { written: 2, replaced: 1 }, 'urgent replaces')
    enqueue(tx, { ...ACCOUNT, inboxId: 'work' }, ['other'], { urgent: true })
  })
  assert.deepEqual(taken(box), ['z', 'b', 'c', 'a', 'd'])
  assert.deepEqual(taken(box, 1_000, 3), ['z', 'b', 'c'])
  assert.deepEqual(taken(box, 1_000, 1), ['z'])
})

test('a message that was enqueued again while it was fetched stays in the queue', async () => {
  await using box = adopted()
  commit(box, (tx) => enqueue(tx, ACCOUNT, ['a', 'b'], { urgent: false }))
  const under = box.store.read('ada', (db) => take(db, ACCOUNT, 1_000, 10))
  commit(box, (tx) => enqueue(tx, ACCOUNT, ['a'], { urgent: true }))
  commit(box, (tx) => finish(tx, ACCOUNT, under))
  assert.deepEqual(taken(box), ['a'])
})

test('a message that left an empty queue and came back is not mistaken for the one that was taken', async () => {
  await using box = adopted()
  commit(box, (tx) => enqueue(tx, ACCOUNT, ['a'], { urgent: false }))
  const under = box.store.read('ada', (db) => take(db, ACCOUNT, 1_000, 10))
  commit(box, (tx) => remove(tx, ACCOUNT, ['a']))
  commit(box, (tx) => enqueue(tx, ACCOUNT, ['a'], { urgent: false }))
  commit(box, (tx) => {
    finish(tx, ACCOUNT, under)
    for (const entry of under)
      fail(tx, ACCOUNT, { ...entry, reason: 'refused', error: null, attempts: 1, nextAtMs: 99_000 })
  })
  assert.deepEqual(taken(box), ['a'])
})

test('a message that cannot be read waits its time and is in nobody’s way', async () => {
  await using box = adopted()
  commit(box, (tx) => enqueue(tx, ACCOUNT, ['bad', 'b', 'c'], { urgent: false }))
  const [bad] = box.store.read('ada', (db) => take(db, ACCOUNT, 1_000, 1))
  assert.ok(bad !== undefined)
  commit(box, (tx) => fail(tx, ACCOUNT, { ...bad, reason: 'unreadable', error: null, attempts: 1, nextAtMs: 6_000 }))
  assert.deepEqual(taken(box), ['b', 'c'])
  box.store.read('ada', (db) => {
    assert.deepEqual(queueDepth(db, ACCOUNT), { ...EMPTY_QUEUE, entries: 3, waiting: 2, setAside: 1, nextAtMs: 6_000 })
    assert.deepEqual(queuedIds(db, ACCOUNT, ['bad', 'x']), new Set(['bad']))
  })
  commit(box, (tx) => remove(tx, ACCOUNT, ['b', 'c', 'not there']))
  assert.deepEqual(taken(box), [])
  assert.deepEqual(
    box.store.read('ada', (db) => queueDepth(db, ACCOUNT)),
    { ...EMPTY_QUEUE, entries: 1, setAside: 1, nextAtMs: 6_000 },
  )
  assert.deepEqual(
    box.store.read('ada', (db) => take(db, ACCOUNT, 6_000, 1)).map(({ attempts }) => attempts),
    [1],
  )
  commit(box, (tx) => enqueue(tx, ACCOUNT, ['bad'], { urgent: true }))
  assert.deepEqual(
    box.store.read('ada', (db) => take(db, ACCOUNT, 1_000, 1)).map(({ attempts }) => attempts),
    [0],
  )
})

test('a message that the provider did not find is not counted as set aside', async () => {
  await using box = adopted()
  commit(box, (tx) => enqueue(tx, ACCOUNT, ['gone'], { urgent: false }))
  const [gone] = box.store.read('ada', (db) => take(db, ACCOUNT, 1_000, 1))
  assert.ok(gone !== undefined)
  commit(box, (tx) => fail(tx, ACCOUNT, { ...gone, reason: 'missing', error: null, attempts: 1, nextAtMs: 6_000 }))
  assert.deepEqual(
    box.store.read('ada', (db) => queueDepth(db, ACCOUNT)),
    { ...EMPTY_QUEUE, entries: 1, nextAtMs: 6_000 },
  )
})

test('an empty queue has no next time', async () => {
  await using box = adopted()
  assert.deepEqual(
    box.store.read('ada', (db) => queueDepth(db, ACCOUNT)),
    EMPTY_QUEUE,
  )
})

test('of a queue that holds a whole mailbox only what was tried or is urgent is read for each page', async () => {
  await using box = adopted()
  const plans = commit(box, (tx) => {
    const client: Client = Reflect.get(tx.db, '$client')
    const texts = new Set<string>()
    const { prepare } = client
    client.prepare = (text) => {
      texts.add(text)
      return prepare.call(client, text)
    }
    depthOf(tx, ACCOUNT, 0)
    hasQueued(tx, ACCOUNT)
    client.prepare = prepare
    return [...texts].map((text) => client.prepare(`EXPLAIN QUERY PLAN ${text}`).all(null, null, null)[0]?.detail ?? '')
  })
  assert.equal(plans.length, 2)
  assert.match(plans[0] ?? '', /USING INDEX fetch_queue_special/)
  assert.match(plans[1] ?? '', /USING .*INDEX/)
})
