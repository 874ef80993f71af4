/** What the stream has lost is published again, once; what somebody took out of it stays away. */
import assert from 'node:assert/strict'
import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { createLog } from '#shared/log.ts'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import type { ReconcileResult, RelayDeps } from '../../../services/mail/outbox/deps.ts'
import { reconcile } from '../../../services/mail/outbox/reconcile.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import { deletePublished, outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import { until } from '../../support/until.ts'
import { EPOCH, ids, NEXT_EPOCH, OutboxBox, SHORT_WINDOW, STREAM, USER } from './support.ts'

const jetstreamDir = (box: OutboxBox): string => join(box.server.dir, 'data/jetstream')
const copyDir = (box: OutboxBox, name = 'older'): string => join(box.dir, `${name}-jetstream`)

/** Results of the reads that a drain makes. */
async function drainSeeing(box: OutboxBox, deps: Parameters<OutboxBox['relay']>[0] = {}): Promise<ReconcileResult[]> {
  const seen: ReconcileResult[] = []
  await box.drain({ ...deps, hooks: { onReconciled: (_user, result) => seen.push(result) } })
  return seen
}

const connectedAgain = (box: OutboxBox): Promise<unknown> =>
  until('the client is connected again', async () => {
    await box.link.jsm.streams.info(EVENT_STREAM)
    return true
  })

async function keepCopy(box: OutboxBox, name = 'older'): Promise<void> {
  await box.server.stop()
  await cp(jetstreamDir(box), copyDir(box, name), { recursive: true })
  await box.server.start()
  await connectedAgain(box)
}

async function goBack(box: OutboxBox, name = 'older'): Promise<void> {
  await box.server.stop()
  await rm(jetstreamDir(box), { recursive: true })
  await cp(copyDir(box, name), jetstreamDir(box), { recursive: true })
  await box.server.start()
  await connectedAgain(box)
}

/** Five events, a copy of the server, five more, and a second user's; then the server is what the copy was. */
async function rolledBack(box: OutboxBox, deps: Pick<RelayDeps, 'controls'> = {}): Promise<void> {
  box.store.adopt('eve', EPOCH)
  box.put('m', 5)
  box.put('e', 1, { userId: 'eve' })
  await box.drain(deps)
  await box.drain({ userId: 'eve' })
  await keepCopy(box)
  box.put('n', 5)
  await box.drain(deps)
  assert.deepEqual(await box.scan(), [...ids('m', 5), ...ids('n', 5)])
  await goBack(box)
  assert.deepEqual(await box.scan(), ids('m', 5))
}

// Each has a server of its own, and most of their time is waiting.
describe('a stream that lost events', { concurrency: 4 }, () => {
  test('a hole that an operator purged is not published again', async () => {
    await using box = await OutboxBox.open()
    const ops = await box.connect('ops')
    box.put('m', 10)
    await box.drain()
    await ops.jsm.streams.purge(EVENT_STREAM, { filter: eventSubject(USER), seq: 6 })
    box.put('n', 1)
    assert.deepEqual(
      (await drainSeeing(box)).map(({ republished }) => republished),
      [0],
    )
    assert.deepEqual(await box.scan(), [...ids('m', 10).slice(5), 'n0'])
    await ops.jsm.streams.purge(EVENT_STREAM)
    box.put('o', 2)
    assert.deepEqual(
      (await drainSeeing(box)).map(({ republished }) => republished),
      [0],
    )
    assert.deepEqual(await box.scan(), ids('o', 2))
  })

  test('the newest event that an operator deleted is not published again, nor is anything else', async () => {
    await using box = await OutboxBox.open()
    const ops = await box.connect('ops')
    box.put('m', 5)
    await box.drain()
    const newest = await ops.jsm.streams.getMessage(EVENT_STREAM, { last_by_subj: eventSubject(USER) })
    await ops.jsm.streams.deleteMessage(EVENT_STREAM, newest?.seq ?? 0)
    for (const more of ['n', 'o']) {
      const [seen] = await drainSeeing(box)
      assert.deepEqual([seen?.rolledBack, seen?.republished], [false, 0])
      box.put(more, 1)
      await box.drain()
    }
    assert.deepEqual(await box.scan(), [...ids('m', 4), 'n0', 'o0'])
  })

  test('a stream that went backwards gets what it lost again, once and in order', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    await rolledBack(box)
    box.put('o', 1)
    const [seen] = await drainSeeing(box)
    assert.deepEqual([seen?.rolledBack, seen?.republished, seen?.last], [true, 5, 5])
    assert.deepEqual(await box.scan(), [...ids('m', 5), ...ids('n', 5), 'o0'])
    const again = await drainSeeing(box)
    assert.deepEqual(
      again.map((result) => [result.rolledBack, result.republished]),
      [[false, 0]],
    )
    const eve = await drainSeeing(box, { userId: 'eve' })
    assert.deepEqual([eve[0]?.rolledBack, await box.scan('eve')], [false, ['e0']])
  })

  test('control: without read-back a relay does not notice that the stream went backwards', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    const deps = { controls: { expectSequence: false, readBack: false } } as const
    await rolledBack(box, deps)
    box.put('o', 1)
    await box.drain(deps)
    assert.deepEqual(await box.scan(), [...ids('m', 5), 'o0'])
  })

  test('events whose outbox row is gone are rebuilt from the mail', async () => {
    await using box = await OutboxBox.open()
    await rolledBack(box)
    box.store.commit(USER, EPOCH, (tx) => deletePublished(tx, Date.now() + 60_000))
    await box.drain()
    assert.deepEqual(await box.scan(), [...ids('m', 5), ...ids('n', 5)])
  })

  test('a stream that went backwards and grew again in between gets back only what is missing, but not what was purged', async () => {
    await using box = await OutboxBox.open()
    await rolledBack(box)
    const ops = await box.connect('ops')
    await ops.jsm.streams.purge(EVENT_STREAM, { filter: eventSubject(USER), seq: 3 })
    // Other users fill the sequences where n0 to n4 stood; another machine has published n1 for ada.
    box.put('e-more-', 4, { userId: 'eve' })
    await box.drain({ userId: 'eve' })
    const store = box.newStore('b')
    store.adopt(USER, NEXT_EPOCH)
    box.put('n', 2, { store, epoch: NEXT_EPOCH })
    store.commit(USER, NEXT_EPOCH, (tx) => tx.db.run('DELETE FROM outbox WHERE id = 1'))
    await box.drain({ store, epoch: NEXT_EPOCH })
    assert.deepEqual(await box.scan(), ['m2', 'm3', 'm4', 'n1'])

    const [seen] = await drainSeeing(box)
    assert.deepEqual([seen?.rolledBack, seen?.republished], [true, 4])
    assert.deepEqual(await box.scan(), ['m2', 'm3', 'm4', 'n1', 'n0', 'n2', 'n3', 'n4'])
  })

  test('what a stream has lost leaves in the order of storing, also mail whose outbox row is gone', async () => {
    await using box = await OutboxBox.open()
    box.put('m', 2)
    await box.drain()
    await keepCopy(box)
    box.put('n', 3)
    await box.drain()
    box.store.commit(USER, EPOCH, (tx) => deletePublished(tx, Date.now() + 60_000))
    box.put('o', 3)
    await box.drain()
    box.put('p', 2)
    await goBack(box)
    await box.drain()
    assert.deepEqual(await box.scan(), [...ids('m', 2), ...ids('n', 3), ...ids('o', 3), ...ids('p', 2)])
  })

  /** Dies as soon as something was put back and the walk is not over. */
  class DyingStore extends UserStore {
    override commit<T>(...[userId, epoch, fn]: Parameters<typeof UserStore.prototype.commit<T>>): T {
      const result = super.commit(userId, epoch, fn)
      const { repairing, pending } = this.read(userId, (db) => ({ ...readMeta(db), ...outboxDepth(db) }))
      if (repairing === true && pending > 0) throw new Error('the process dies')
      return result
    }
  }

  for (const [what, next] of [
    ['is the same', 'older'],
    ['is the newer one again', 'newer'],
  ] as const)
    test(`a crash while what was lost is put back, and then the stream ${what}: nothing twice`, async () => {
      await using box = await OutboxBox.open(SHORT_WINDOW)
      box.put('m', 5)
      await box.drain()
      await keepCopy(box)
      box.put('n', 5)
      await box.drain()
      await keepCopy(box, 'newer')
      await goBack(box)
      await using store = new DyingStore({ dataDir: join(box.dir, 'a'), log: createLog('test', 'silent') })
      const deps = box.reconcileDeps({ store })
      await assert.rejects(reconcile(USER, EPOCH, deps, AbortSignal.timeout(20_000)), /dies/)
      await goBack(box, next)
      await box.windowOver()
      await box.drain()
      assert.deepEqual(await box.scan(), [...ids('m', 5), ...ids('n', 5)])
    })

  test('an idle user heals at the recheck after a reconnect', async () => {
    await using box = await OutboxBox.open()
    await rolledBack(box)
    const run = box.relay()
    await run.drained(AbortSignal.timeout(20_000))
    await goBack(box)
    assert.deepEqual(await box.scan(), ids('m', 5))
    run.recheck()
    await run.drained(AbortSignal.timeout(20_000))
    assert.deepEqual(await box.scan(), [...ids('m', 5), ...ids('n', 5)])
    assert.equal(run.status().streamReset, true)
    await run.end()
  })

  async function wiped(box: OutboxBox): Promise<void> {
    box.put('m', 3)
    await box.drain()
    await box.server.stop()
    await box.server.wipe()
    box.put('n', 2)
    await box.server.start()
    await until('the stream is there again', async () => {
      await box.ensureStream(STREAM)
      return true
    })
  }

  test('in a new JetStream what waited is published, what was published is not', async () => {
    await using box = await OutboxBox.open()
    await wiped(box)
    const [seen] = await drainSeeing(box)
    assert.deepEqual([seen?.streamReset, seen?.rolledBack, seen?.republished], [true, false, 0])
    assert.deepEqual(await box.scan(), ids('n', 2))
    box.put('o', 1)
    assert.deepEqual(
      (await drainSeeing(box)).map((result) => [result.streamReset, result.rolledBack]),
      [[false, false]],
    )
    assert.deepEqual(await box.scan(), [...ids('n', 2), 'o0'])
    assert.equal(typeof box.store.read(USER, (db) => readMeta(db)?.streamResetMs), 'number')
  })

  test('in a new JetStream mail younger than the retention is published again when the configuration says so', async () => {
    await using box = await OutboxBox.open()
    await wiped(box)
    const config = { onNewStream: 'republish' } as const
    await box.drain({ config })
    assert.deepEqual(await box.scan(), [...ids('m', 3), ...ids('n', 2)])
    await box.drain({ config })
    assert.deepEqual(await box.scan(), [...ids('m', 3), ...ids('n', 2)])
  })

  test('in a new JetStream mail older than the retention is not published again', async () => {
    await using box = await OutboxBox.open()
    await wiped(box)
    await box.drain({ config: { onNewStream: 'republish', retentionMs: -60_000 } })
    assert.deepEqual(await box.scan(), ids('n', 2))
  })

  test('a lost disk: mail that is fetched again and stands on the stream gives no second event', async () => {
    await using box = await OutboxBox.open()
    box.put('m', 450)
    await box.drain()
    const store = box.newStore('b')
    store.adopt(USER, NEXT_EPOCH)
    box.put('m', 460, { store, epoch: NEXT_EPOCH })
    const [seen] = await drainSeeing(box, { store, epoch: NEXT_EPOCH })
    assert.deepEqual([seen?.marked, seen?.readEvents], [450, 450])
    assert.deepEqual(await box.scan(), ids('m', 460))
  })
})

test('a deposed leader that names an end of long ago is not believed while our last event stands there', async () => {
  await using box = await OutboxBox.open()
  box.put('m', 5)
  await box.drain()
  const { jsm } = box.link
  const info: typeof jsm.streams.info = async (stream) => {
    const now = await jsm.streams.info(stream)
    return { ...now, state: { ...now.state, last_seq: 2 } }
  }
  const streams = Object.create(jsm.streams, { info: { value: info } })
  const deps = box.reconcileDeps({ jsm: Object.create(jsm, { streams: { value: streams } }) })
  const result = await reconcile(USER, EPOCH, deps, AbortSignal.timeout(10_000))
  assert.deepEqual([result.rolledBack, result.republished, result.last], [false, 0, 5])
})
