/**
 * Rows that wait go as one atomic batch, in order and each once, whatever happens between its first message and its answer.
 * A server that knows no batches gets each event alone.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import { AtomicBatch, knowsBatches } from '../../../services/mail/kv/atomic-batch.ts'
import type { ReconcileResult, RelayDeps } from '../../../services/mail/outbox/deps.ts'
import { knownSeq } from '../../../services/mail/store/known.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import { startProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { EPOCH, ids, NEXT_EPOCH, OutboxBox, SHORT_WINDOW, STREAM, USER } from './support.ts'

type Entry = { seq: number; subject: string; msgId: string; batch: string; place: number }
const USERS = ['ada', 'bob', 'eve', 'joe']
const encoder = new TextEncoder()

/** What stands on the stream, with the headers of batches. */
async function entries({ link: { jsm } }: OutboxBox): Promise<Entry[]> {
  const found: Entry[] = []
  const { first_seq, last_seq } = (await jsm.streams.info(EVENT_STREAM)).state
  for (let seq = Math.max(first_seq, 1); seq <= last_seq; seq++) {
    const message = await jsm.streams.getMessage(EVENT_STREAM, { seq })
    const header = (name: string): string => message?.header.get(name) ?? ''
    const place = Number(header('Nats-Batch-Sequence'))
    if (message === null) continue
    const [msgId, batch] = [header('Nats-Msg-Id'), header('Nats-Batch-Id')]
    found.push({ seq, subject: message.subject, msgId, batch, place })
  }
  return found
}

/** Whether the connected server does what this file is about; on another one the same stories end in the same events. */
const batching = ({ link }: OutboxBox): boolean => knowsBatches(link.nc)
const write = (msgId: string, lastSeq?: number) => ({
  subject: eventSubject(USER),
  data: encoder.encode(msgId),
  msgId,
  ...(lastSeq === undefined ? {} : { lastSeq }),
})

describe('batches of events', { concurrency: 3 }, () => {
  test('of users who publish at the same time each batch stands in one piece, and each sequence is known', async () => {
    await using box = await OutboxBox.open()
    for (const userId of USERS) {
      box.store.adopt(userId, EPOCH)
      box.put(`${userId}-`, 250, { userId })
    }
    // Somebody else publishes single events all the time.
    const other = await box.connect('ops')
    let isOver = false
    const singles = (async () => {
      for (let i = 0; !isOver; i++) await other.js.publish(eventSubject('single'), `${i}`)
    })()
    await Promise.all(USERS.map((userId) => box.drain({ userId })))
    isOver = true
    await singles

    const found = await entries(box)
    for (const userId of USERS) {
      assert.deepEqual(await box.scan(userId), ids(`${userId}-`, 250))
      const own = found.filter(({ subject }) => subject === eventSubject(userId))
      box.store.read(userId, (db) => {
        for (const { msgId, seq } of own) assert.equal(knownSeq(db, msgId), seq)
        const { lastSeq, lastEventId } = readMeta(db) ?? {}
        assert.deepEqual([lastSeq, lastEventId], [own.at(-1)?.seq, own.at(-1)?.msgId])
      })
    }
    const parts = found.filter(({ batch }) => batch !== '')
    assert.equal(parts.length, batching(box) ? 1_000 : 0)
    for (const [i, { batch, seq, place }] of parts.entries()) {
      const before = parts[i - 1]
      if (place > 1) assert.deepEqual([before?.batch, before?.seq, before?.place], [batch, seq - 1, place - 1])
    }
  })

  test('one row goes alone', async () => {
    await using box = await OutboxBox.open()
    box.put('m', 1)
    await box.drain()
    const message = await box.link.jsm.streams.getMessage(EVENT_STREAM, { seq: 1 })
    assert.deepEqual(message?.header.keys().sort(), ['Nats-Expected-Last-Subject-Sequence', 'Nats-Msg-Id'])
  })

  test('the expectation of the first is compared when the last one comes, and refuses all of them', async () => {
    await using box = await OutboxBox.open()
    const { nc, js } = box.link
    const batch = new AtomicBatch(nc, 2_000)
    // A server that knows no batches has stored it; whoever began hears that.
    if (!batching(box)) return void (await assert.rejects(batch.begin(write('m0', 0)), /knows no atomic batches/))
    assert.equal(await batch.begin(write('m0', 0)), true)
    batch.add(write('m1'))
    await js.publish(eventSubject(USER), 'newer', { msgID: 'newer' })
    assert.equal(await batch.commit(write('m2')), null)
    assert.deepEqual(await box.scan(), ['newer'])
    // As a batch whose first is not behind what is known.
    const next = new AtomicBatch(nc, 2_000)
    assert.equal(await next.begin(write('m0', 1)), true)
    assert.equal(await next.commit(write('m1')), 3)
    assert.deepEqual(await box.scan(), ['newer', 'm0', 'm1'])
  })

  test('an id that the server knows refuses all of a batch, wherever in it it stands', async () => {
    await using box = await OutboxBox.open()
    const { nc, js } = box.link
    if (!batching(box)) return
    await js.publish(eventSubject(USER), 'm1', { msgID: 'm1' })
    for (const order of [
      ['m1', 'm2', 'm3'],
      ['m2', 'm1', 'm3'],
      ['m2', 'm3', 'm1'],
      ['m2', 'm3', 'm3'],
    ]) {
      const batch = new AtomicBatch(nc, 2_000)
      const [first = '', second = '', third = ''] = order
      assert.equal(await batch.begin(write(first, 1)), true)
      batch.add(write(second))
      assert.equal(await batch.commit(write(third)), null, `${order}`)
    }
    assert.deepEqual(await box.scan(), ['m1'])
  })

  test('what another owner has published of it meanwhile refuses a batch; the rest follows once', async () => {
    await using box = await OutboxBox.open()
    await using proxy = await startProxy(box.server.port)
    const link = await box.connect('mailsync', proxy.port)
    const run = box.relay(link)
    await run.drained(AbortSignal.timeout(10_000))
    proxy.hold('toServer')
    box.put('m', 5)
    run.wake()
    const store = box.newStore('b')
    store.adopt(USER, NEXT_EPOCH)
    box.put('m', 3, { store, epoch: NEXT_EPOCH })
    await box.drain({ store, epoch: NEXT_EPOCH })
    proxy.release()
    await run.drained(AbortSignal.timeout(20_000))
    assert.deepEqual(await box.scan(), ids('m', 5))
    await run.end()
    await link.nc.close()
  })

  /** An answer that looks so is lost on the way, and the relay goes on by itself. */
  async function lose(box: OutboxBox, answer: RegExp): Promise<ReconcileResult[]> {
    await using proxy = await startProxy(box.server.port)
    const link = await box.connect('mailsync', proxy.port)
    const seen: ReconcileResult[] = []
    const run = box.relay({ ...link, hooks: { onReconciled: (_user, result) => seen.push(result) } })
    await run.drained(AbortSignal.timeout(10_000))
    const lost = proxy.dropNext('toClient', (chunk) => answer.test(chunk.toString('latin1')))
    box.put('m', 4)
    run.wake()
    await lost
    await box.windowOver()
    await run.drained(AbortSignal.timeout(30_000))
    await run.end()
    await link.nc.close()
    return seen
  }

  test('a batch whose answer is lost is read back, though the dedupe window is over', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    const seen = await lose(box, /"seq":\d+/)
    assert.deepEqual(await box.scan(), ids('m', 4))
    if (batching(box))
      assert.deepEqual(
        seen.map(({ marked }) => marked),
        [0, 4],
      )
  })

  test('of a batch whose first answer is lost nothing is stored, and it goes again', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    if (!batching(box)) return
    const seen = await lose(box, /MSG _INBOX\S+ \d+ 0\r\n\r\n/)
    assert.deepEqual(await box.scan(), ids('m', 4))
    assert.deepEqual(
      seen.map(({ marked }) => marked),
      [0, 0],
    )
  })

  test('a connection that dies within a batch leaves nothing of it, and the next one carries all', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    if (!batching(box)) return
    await using proxy = await startProxy(box.server.port)
    const link = await box.connect('mailsync', proxy.port)
    const run = box.relay(link)
    await run.drained(AbortSignal.timeout(10_000))
    const held = proxy.holdFrom('toServer', (chunk) => chunk.includes('Nats-Batch-Sequence: 2'))
    box.put('m', 4)
    run.wake()
    await held
    assert.deepEqual(await box.scan(), [])
    proxy.cut()
    proxy.release()
    proxy.heal()
    await run.drained(AbortSignal.timeout(30_000))
    assert.deepEqual(await box.scan(), ids('m', 4))
    await run.end()
    await link.nc.close()
  })

  /**
   * The first relay has begun a batch when its bytes are held. A second one takes the user over and publishes the same mail.
   * After the window the rest of the batch arrives.
   */
  async function lateBatch(box: OutboxBox, controls: RelayDeps['controls'] = {}): Promise<void> {
    await using proxy = await startProxy(box.server.port)
    const link = await box.connect('mailsync', proxy.port)
    const first = box.relay({ ...link, controls })
    await first.drained(AbortSignal.timeout(10_000))
    const held = proxy.holdFrom('toServer', (chunk) => chunk.includes('Nats-Batch-Commit'))
    box.put('m', 3)
    first.wake()
    await held
    const store = box.newStore('b')
    store.adopt(USER, NEXT_EPOCH)
    box.put('m', 3, { store, epoch: NEXT_EPOCH })
    await box.drain({ store, epoch: NEXT_EPOCH })
    await box.windowOver()
    proxy.release()
    await first.drained(AbortSignal.timeout(20_000))
    await first.end()
    await link.nc.close()
  }

  test('a batch of a past owner that is completed late is refused whole', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    if (!batching(box)) return
    await lateBatch(box)
    assert.deepEqual(await box.scan(), ids('m', 3))
  })

  test('control: without the expected sequence of a batch the late one of a past owner is there a second time', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    if (!batching(box)) return
    await lateBatch(box, { expectOfBatch: false })
    assert.deepEqual(await box.scan(), [...ids('m', 3), ...ids('m', 3)])
  })

  test('a stream that takes no batches gets each event alone', async () => {
    await using box = await OutboxBox.open()
    if (!batching(box)) return
    const ops = await box.connect('ops')
    await ops.jsm.streams.update(EVENT_STREAM, { allow_atomic: false })
    box.put('m', 120)
    await box.drain()
    assert.deepEqual(await box.scan(), ids('m', 120))
    assert.ok((await entries(box)).every(({ batch }) => batch === ''))
  })

  test('of a batch that does not fit into the stream so much is published as fits', async () => {
    await using box = await OutboxBox.open({ ...STREAM, maxBytes: 8_000 })
    box.put('m', 30)
    const run = box.relay()
    await until('the stream is full', () => run.status().error === 'STREAM_FULL')
    const found = await entries(box)
    assert.deepEqual(await box.scan(), ids('m', found.length))
    assert.ok(found.length > 0 && found.every(({ batch }) => batch === ''))
    await box.ensureStream(STREAM)
    await run.drained(AbortSignal.timeout(20_000))
    assert.deepEqual(await box.scan(), ids('m', 30))
    // Room may have come between a batch that was refused and the events of it one by one. What is stored from here on has room.
    box.put('n', 20)
    run.wake()
    await run.drained(AbortSignal.timeout(20_000))
    assert.deepEqual(await box.scan(), [...ids('m', 30), ...ids('n', 20)])
    const later = (await entries(box)).slice(30)
    assert.equal(later.filter(({ batch }) => batch !== '').length, batching(box) ? 20 : 0)
    await run.end()
  })

  test('only the event that is too large is cut, though it is in the middle of others', async () => {
    await using box = await OutboxBox.open()
    const ops = await box.connect('ops')
    await ops.jsm.streams.update(EVENT_STREAM, { max_msg_size: 3_000 })
    box.put('m', 2)
    box.put('n', 1, { mail: { snippet: 'long '.repeat(2_000) } })
    box.put('o', 2)
    await box.drain()
    assert.deepEqual(await box.scan(), ['m0', 'm1', 'n0', 'o0', 'o1'])
    const cut = await Promise.all(
      [1, 2, 3, 4, 5].map(async (seq) => {
        const message = await box.link.jsm.streams.getMessage(EVENT_STREAM, { seq })
        return message?.json<{ truncated?: string[] }>().truncated
      }),
    )
    assert.deepEqual(cut, [undefined, undefined, ['snippet'], undefined, undefined])
  })
})
