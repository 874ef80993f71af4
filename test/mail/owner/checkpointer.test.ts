/** What is written for the next owner: never ahead of the stream, and kept trying while NATS does not answer. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { type AccountStatus, CONTRACT, type StatusReply } from '#shared/contract.ts'
import { BUCKET_STATE } from '#shared/subjects.ts'
import type { LaneState } from '../../../services/mail/base/model.ts'
import { MOMENT_MS } from '../../../services/mail/base/slot.ts'
import { type Clock, systemClock } from '../../../services/mail/base/time.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { Checkpoints } from '../../../services/mail/kv/checkpoint.ts'
import { lastEstimate, lastNewsMs } from '../../../services/mail/owner/checkpoint-record.ts'
import { Checkpointer } from '../../../services/mail/owner/checkpointer.ts'
import { takeOver } from '../../../services/mail/owner/takeover.ts'
import { enqueue, finish, take } from '../../../services/mail/store/fetch-queue.ts'
import { putLane } from '../../../services/mail/store/lanes.ts'
import { storeNew } from '../../../services/mail/store/messages.ts'
import { dueRows, markPublished } from '../../../services/mail/store/outbox-rows.ts'
import { StaleEpochError } from '../../../services/mail/store/user-store.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { startProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { connected, kvBox, log } from '../kv/support.ts'
import { ACCOUNT, EPOCH, mails, storeBox } from '../store/support.ts'
import { takeoverParts } from './takeover-parts.ts'

const USER = ACCOUNT.userId
const KEY = 'google.primary'

/** User ada, taken over; a checkpointer of that term; and hands that do what worker and relay do. */
async function checkpointBox(
  options: {
    early?: boolean
    statuses?: AccountStatus[]
    newsMs?: Record<string, number>
    clock?: Clock
    port?: (port: number) => Promise<number>
    lanes?: () => Record<string, LaneState[]>
  } = {},
) {
  await using stack = new AsyncDisposableStack()
  const kv = stack.use(await kvBox())
  const { store } = stack.use(storeBox())
  const port = (await options.port?.(kv.server.port)) ?? kv.server.port
  const bucket = await Bucket.open(await kv.connect('mailsync', port), BUCKET_STATE)
  const checkpoints = new Checkpoints(() => bucket)
  const direct = await Bucket.open(kv.nc, BUCKET_STATE)
  const seen = new Checkpoints(() => direct)
  const deps = { checkpoints, store, clock: systemClock, log, ...(await takeoverParts(kv.nc)) }
  const { checkpoint } = await takeOver(USER, EPOCH, 'sid', deps)
  const checkpointer = new Checkpointer(USER, EPOCH, checkpoint, {
    ...deps,
    owns: () => true,
    accounts: () => [ACCOUNT],
    statuses: () => options.statuses ?? [],
    lanes: () => options.lanes?.() ?? null,
    newsMs: () => options.newsMs ?? {},
    ...(options.clock === undefined ? {} : { clock: options.clock }),
    ...(options.early === true ? { early: true } : {}),
  })
  const stop = new AbortController()
  const running = checkpointer.run(stop.signal)
  running.catch(() => undefined)
  stack.defer(() => stop.abort())
  const parts = stack.move()
  return {
    checkpointer,
    running,
    /** As before the last checkpoint of a term: nobody else writes. */
    stopped: () => {
      stop.abort()
      return running
    },
    /** What a release does when something was committed. */
    flush: async () => {
      checkpointer.changed(true)
      await checkpointer.flush()
    },
    store,
    seen,
    lane: (cursor: string, more: Parameters<typeof putLane>[2] | object = {}) =>
      store.commit(USER, EPOCH, (tx) => putLane(tx, ACCOUNT, { ...newLane('history'), cursor, done: true, ...more })),
    mail: (prefix: string, n: number) => store.commit(USER, EPOCH, (tx) => storeNew(tx, ACCOUNT, mails(prefix, n), 1)),
    publishAll: () =>
      store.commit(USER, EPOCH, (tx) => {
        const rows = dueRows(tx, 1_000).map(({ id, msgId }) => ({ id, msgId, seq: id }))
        const last = rows.at(-1)
        if (last !== undefined) markPublished(tx, rows, { seq: last.seq, eventId: last.msgId }, 1)
      }),
    cursors: async () =>
      (await seen.read(USER))?.record.lanes[KEY]?.map(({ lane, cursor }) => `${lane}:${cursor}`) ?? null,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

// Each has a server of its own, and most of their time is waiting.
describe('checkpoints', { concurrency: 3 }, () => {
  test('positions are written only when all mail they have passed is on the stream', async () => {
    await using box = await checkpointBox()
    box.mail('a', 3)
    box.lane('h1')
    await box.flush()
    assert.equal(await box.cursors(), null)
    box.publishAll()
    await box.flush()
    assert.deepEqual(await box.cursors(), ['history:h1'])
    const record = (await box.seen.read(USER))?.record
    assert.deepEqual([record?.pub, record?.lanesEpoch], [3, EPOCH])
  })

  test('with an outbox that is never empty the positions captured before still come through', async () => {
    await using box = await checkpointBox()
    box.mail('a', 1)
    box.lane('h1')
    box.checkpointer.changed(false)
    await until('the first position is written', async () => {
      box.mail(`more${performance.now()}-`, 1)
      box.store.commit(USER, EPOCH, (tx) => {
        const rows = dueRows(tx, 2)
        // All but the newest row: the outbox is never empty.
        const done = rows.slice(0, -1).map(({ id, msgId }) => ({ id, msgId, seq: id }))
        const last = done.at(-1)
        if (last !== undefined) markPublished(tx, done, { seq: last.seq, eventId: last.msgId }, 1)
      })
      box.checkpointer.published()
      return (await box.cursors())?.includes('history:h1')
    })
  })

  test('after mail it is due half way between two moments of polls, each of which may bring the next mail', async () => {
    const waits: number[] = []
    const sleep: Clock['sleep'] = (ms, signal) => {
      waits.push(ms)
      return systemClock.sleep(ms, signal)
    }
    await using box = await checkpointBox({ clock: { ...systemClock, monoMs: () => 0, sleep } })
    await until('it waits to be renewed', () => waits.length > 0)
    box.checkpointer.changed(false)
    await until('it waits for more mail', () => waits.length > 1)
    assert.equal((waits[1] ?? 0) % MOMENT_MS, MOMENT_MS / 2)
  })

  test('a release without news writes nothing', async () => {
    await using box = await checkpointBox()
    // As in a release: nothing else writes meanwhile, however long NATS takes.
    await box.stopped()
    box.lane('h1')
    await box.flush()
    const before = await box.seen.read(USER)
    await box.checkpointer.flush()
    assert.equal((await box.seen.read(USER))?.revision, before?.revision)
  })

  test('a release after which only positions have moved asks no database; after new mail it does', async () => {
    const inMemory = { ...newLane('history'), cursor: 'memory', done: true }
    await using box = await checkpointBox({ lanes: () => ({ [KEY]: [inMemory] }) })
    await box.stopped()
    box.mail('a', 3)
    box.lane('h1')
    box.publishAll()
    box.checkpointer.changed(false)
    await box.flush()
    const first = await box.seen.read(USER)
    assert.deepEqual(await box.cursors(), ['history:h1'])
    await box.flush()
    const moved = await box.seen.read(USER)
    assert.deepEqual(await box.cursors(), ['history:memory'])
    assert.deepEqual(moved?.record.pub, first?.record.pub)
    box.mail('b', 1)
    box.checkpointer.changed(false)
    await box.flush()
    assert.deepEqual(await box.cursors(), ['history:memory'], 'the new mail is not on the stream')
  })

  test('once halted nothing but a flush writes, and what is being written is waited for', async () => {
    await using box = await checkpointBox()
    box.lane('h1')
    box.checkpointer.changed(false)
    await until('it is written', async () => (await box.cursors()) !== null)
    await until('it is at rest', () => box.checkpointer.halt())
    box.lane('h2')
    box.checkpointer.changed(false)
    await setTimeout(1_500)
    assert.deepEqual(await box.cursors(), ['history:h1'])
    await box.flush()
    assert.deepEqual(await box.cursors(), ['history:h2'])
  })

  test('it is not at rest while a checkpoint is on its way', async (t) => {
    const proxy = { now: null as Awaited<ReturnType<typeof startProxy>> | null }
    t.after(() => proxy.now?.[Symbol.asyncDispose]())
    await using box = await checkpointBox({
      port: async (port) => {
        proxy.now = await startProxy(port)
        return proxy.now.port
      },
    })
    box.lane('h1')
    const swallowed = proxy.now?.dropNext('toServer', (chunk) => chunk.includes('$KV.mail_state'))
    box.checkpointer.changed(false)
    await swallowed
    assert.equal(box.checkpointer.halt(), false)
  })

  test('how many mails an account has, and since when it is quiet, is told by the last checkpoint, also to the next owner', async () => {
    const { reply } = CONTRACT.status.example as { reply: StatusReply }
    await using box = await checkpointBox({ statuses: reply.accounts, newsMs: { 'google.primary': 700 } })
    const told = (inboxId: string, connected_at = 0) => {
      const account = { ...ACCOUNT, inboxId }
      const entry = { account, record: connected({ connected_at }), revision: 1 }
      return [lastEstimate(box.checkpointer.last, account), lastNewsMs(box.checkpointer.last, entry)]
    }
    assert.deepEqual(told('primary'), [null, 0])
    box.lane('h1')
    await box.flush()
    assert.deepEqual(
      [told('primary'), told('other'), told('primary', 2)],
      [
        [5_200, 700],
        [null, 0],
        [5_200, 2_000],
      ],
    )
    const { accounts, newsMs } = (await box.seen.read(USER))?.record ?? assert.fail('no checkpoint')
    assert.deepEqual([accounts[0]?.progress.total_estimate, newsMs], [5_200, { 'google.primary': 700 }])
  })

  test('the control: written early, positions are ahead of mail that only this disk has', async () => {
    await using box = await checkpointBox({ early: true })
    box.mail('a', 3)
    box.lane('h1')
    await box.flush()
    assert.deepEqual(await box.cursors(), ['history:h1'], 'whoever goes on from here never fetches the three')
  })

  test('while ids wait to be fetched, Gmail is listed again and Graph keeps its last checkpoint', async () => {
    await using box = await checkpointBox()
    box.lane('h1')
    await box.flush()
    box.lane('h2')
    box.store.commit(USER, EPOCH, (tx) => enqueue(tx, ACCOUNT, ['m1'], { urgent: false }))
    await box.flush()
    assert.deepEqual(await box.cursors(), ['history:h1'])
    box.lane('page 7', { lane: 'enum' })
    await box.flush()
    assert.deepEqual(await box.cursors(), ['enum:null', 'history:h2'])
    box.store.commit(USER, EPOCH, (tx) => finish(tx, ACCOUNT, take(tx, ACCOUNT, Date.now(), 10)))
    await box.flush()
    assert.deepEqual(await box.cursors(), ['enum:page 7', 'history:h2'])
  })

  test('a message set aside keeps positions back like one that waits', async () => {
    await using box = await checkpointBox()
    box.lane('h1')
    await box.flush()
    box.store.commit(USER, EPOCH, (tx) => enqueue(tx, ACCOUNT, ['bad'], { urgent: false }))
    box.store.commit(USER, EPOCH, (tx) => tx.db.run("UPDATE fetch_queue SET attempts = 3, reason = 'missing'"))
    box.lane('h2')
    await box.flush()
    assert.deepEqual(await box.cursors(), ['history:h1'])
  })

  test('NATS that does not answer ends nothing: the checkpoint is written when it is back', async (t) => {
    let proxy: Awaited<ReturnType<typeof startProxy>> | undefined
    t.after(() => proxy?.[Symbol.asyncDispose]())
    await using box = await checkpointBox({
      port: async (port) => {
        proxy = await startProxy(port)
        return proxy.port
      },
    })
    box.lane('h1')
    const swallowed = proxy?.dropNext('toServer', (chunk) => chunk.includes('$KV.mail_state'))
    const look = proxy?.dropNext('toServer', (chunk) => chunk.includes('KV_mail_state') && !chunk.includes('history'))
    box.checkpointer.changed(false)
    await Promise.all([swallowed, look])
    const written = until('the checkpoint is there', async () => (await box.cursors())?.includes('history:h1'))
    await Promise.race([written, box.running])
    assert.deepEqual(await box.cursors(), ['history:h1'])
  })

  test('a later owner ends the term at its first checkpoint', async () => {
    await using box = await checkpointBox()
    const later = { ...EPOCH, rev: EPOCH.rev + 1 }
    const found = await box.seen.read(USER)
    assert.ok(found !== null)
    await box.seen.write(USER, { ...found.record, epoch: later }, found.revision)
    box.lane('h1')
    box.checkpointer.changed(false)
    await assert.rejects(box.running, StaleEpochError)
    assert.equal(await box.cursors(), null)
  })
})
