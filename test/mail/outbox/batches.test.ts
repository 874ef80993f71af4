/** Batch after batch: while one is on its way the one before is marked, and what a crash leaves unmarked is read back. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { RelayDeps } from '../../../services/mail/outbox/deps.ts'
import { Turns } from '../../../services/mail/outbox/turns.ts'
import { dueRows, outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import { republish } from '../../../services/mail/store/republish.ts'
import { DiskError } from '../../../services/mail/store/sqlite.ts'
import { StaleEpochError, type UserStore } from '../../../services/mail/store/user-store.ts'
import { startProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { EPOCH, ids, OutboxBox, SHORT_WINDOW, STREAM, USER } from './support.ts'

/** The store, which refuses each transaction from the moment on at which `isOver` says so, as for a process that is dead. */
const dying = (store: UserStore, isOver: () => boolean): UserStore =>
  new Proxy(store, {
    get(of, name) {
      const value = Reflect.get(of, name, of)
      if (typeof value !== 'function') return value
      if (name !== 'commit' || !isOver()) return value.bind(of)
      return () => {
        throw new StaleEpochError(EPOCH, null)
      }
    },
  })

const pendingOf = ({ store }: OutboxBox): number => store.read(USER, outboxDepth).pending

describe('batch after batch', { concurrency: 3 }, () => {
  test('while a batch waits for its answer the one before is marked', async () => {
    await using box = await OutboxBox.open()
    await using proxy = await startProxy(box.server.port)
    const link = await box.connect('mailsync', proxy.port)
    if (!link.batches.areTaken()) return
    const run = box.relay(link)
    await run.drained(AbortSignal.timeout(10_000))
    let commits = 0
    const second = proxy.holdFrom('toServer', (chunk) => {
      commits += chunk.toString('latin1').split('Nats-Batch-Commit').length - 1
      return commits === 2
    })
    box.put('m', 300)
    run.wake()
    await second
    await until('the first batch is marked', () => pendingOf(box) === 200)
    assert.deepEqual(await box.scan(), ids('m', 100))
    proxy.release()
    await run.drained(AbortSignal.timeout(20_000))
    assert.deepEqual(await box.scan(), ids('m', 300))
    assert.equal(pendingOf(box), 0)
    await run.end()
    await link.nc.close()
  })

  /** A relay that cannot mark any more from its first batch on; then another one, after the dedupe window. Answers what it marked. */
  async function dieUnmarked(box: OutboxBox, controls: RelayDeps['controls'] = {}): Promise<number> {
    await box.drain()
    box.put('m', 250)
    let isOver = false
    const onPublished = (): void => {
      isOver = true
    }
    const run = box.relay({ store: dying(box.store, () => isOver), hooks: { onPublished }, controls })
    await assert.rejects(run.done, StaleEpochError)
    await box.windowOver()
    const seen: number[] = []
    await box.drain({ hooks: { onReconciled: (_user, { marked }) => seen.push(marked) }, controls })
    return seen.reduce((sum, marked) => sum + marked, 0)
  }

  test('of a relay that dies with two batches on the stream, neither marked, the next one repeats nothing', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    const marked = await dieUnmarked(box)
    assert.deepEqual(await box.scan(), ids('m', 250))
    if (box.link.batches.areTaken()) assert.equal(marked, 200)
  })

  test('control: without read-back and expectation both batches are there twice', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    if (!box.link.batches.areTaken()) return
    await dieUnmarked(box, { readBack: false, expectSequence: false })
    assert.deepEqual(await box.scan(), [...ids('m', 250).slice(0, 200), ...ids('m', 250)])
  })

  test('a disk that refuses a mark in the middle stops it; what was on its way is read back, and all follow in order', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    let refusals = 0
    let isAsked = false
    const store = new Proxy(box.store, {
      get(of, name) {
        const value = Reflect.get(of, name, of)
        if (typeof value !== 'function') return value
        if (name !== 'commit' || !isAsked || refusals > 0) return value.bind(of)
        return () => {
          refusals++
          throw new DiskError('DISK_FULL', 'the test fills the disk')
        }
      },
    })
    box.put('m', 350)
    const onPublished = (): void => {
      isAsked = true
    }
    await box.drain({ store, hooks: { onPublished } })
    assert.equal(refusals, 1)
    assert.deepEqual(await box.scan(), ids('m', 350))
  })

  test('what is put before all others while a batch is on its way is the next to go', async () => {
    await using box = await OutboxBox.open(STREAM)
    box.put('old', 1)
    await box.drain()
    box.put('m', 30)
    const [before, sent] = box.store.read(USER, (db) => [dueRows(db, 100), dueRows(db, 10)] as const)
    assert.equal(before.length, 30)
    box.store.commit(USER, EPOCH, (tx) => {
      const event = tx.db.get<{ msg_id: string }>('SELECT msg_id FROM outbox WHERE published_at IS NOT NULL')
      republish(tx, [event?.msg_id ?? ''], Date.now())
    })
    const rest = box.store.read(USER, (db) => dueRows(db, 100, sent))
    assert.equal(rest.length, 21)
    assert.ok((rest[0]?.id ?? 0) < (sent[0]?.id ?? 0))
    assert.deepEqual(
      rest.slice(1).map(({ id }) => id),
      before.slice(10).map(({ id }) => id),
    )
  })
})

test('turns are given in the order in which they were asked for, so many at a time, also after a failure', async () => {
  const turns = new Turns(2)
  const begun: number[] = []
  const ends = Array.from({ length: 5 }, () => Promise.withResolvers<void>())
  const all = ends.map(({ promise }, i) =>
    turns.take(() => {
      begun.push(i)
      return promise
    }),
  )
  assert.deepEqual([begun, turns.areWanted], [[0, 1], true])
  ends[1]?.reject(new Error('failed'))
  await assert.rejects(all[1] ?? Promise.resolve(), /failed/)
  assert.deepEqual(begun, [0, 1, 2])
  for (const { resolve } of ends) resolve()
  await Promise.allSettled(all)
  assert.deepEqual([begun, turns.areWanted], [[0, 1, 2, 3, 4], false])
})
