/**
 * Exactly once, whatever happens between publish and mark, and after the server has forgotten the message ids. Each
 * protection has its control arm: without it the same story ends in a duplicate or in a relay that is stuck.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ReconcileResult, RelayDeps } from '../../../services/mail/outbox/deps.ts'
import { outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import { startProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { alone, EPOCH, ids, NEXT_EPOCH, OutboxBox, SHORT_WINDOW, STREAM, USER } from './support.ts'

type Controls = Pick<RelayDeps, 'controls'>
const UNPROTECTED: Controls = { controls: { expectSequence: false, readBack: false } }

/** Publishes three rows; the answer to the third is swallowed and the relay ends without having marked it. */
async function lostAck(box: OutboxBox, deps: Controls): Promise<void> {
  await using proxy = await startProxy(box.server.port)
  const link = await box.connect('mailsync', proxy.port)
  box.put('m', 2)
  await box.drain({ ...link, ...deps })
  box.put('n', 1)
  const run = box.relay({ ...link, ...deps })
  await proxy.dropNext('toClient', (chunk) => chunk.includes('"stream":"EMAIL_EVENTS"') && chunk.includes('"seq":3'))
  await run.end()
  assert.deepEqual(await box.scan(), ['m0', 'm1', 'n0'])
  assert.equal(
    box.store.read(USER, (db) => outboxDepth(db).pending),
    1,
  )
  await link.nc.close()
}

// Each has a server of its own, and most of their time is waiting.
describe('one event each', { concurrency: 4 }, () => {
  test('a relay that dies between publish and mark publishes nothing twice, though the dedupe window is over', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    await lostAck(box, {})
    await box.windowOver()
    box.put('o', 2)
    await box.drain()
    assert.deepEqual(await box.scan(), ['m0', 'm1', 'n0', 'o0', 'o1'])
  })

  test('control: without expected sequence and read-back the same story has a duplicate', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    await lostAck(box, UNPROTECTED)
    await box.windowOver()
    box.put('o', 2)
    await box.drain(UNPROTECTED)
    assert.deepEqual(await box.scan(), ['m0', 'm1', 'n0', 'n0', 'o0', 'o1'])
  })

  test('control: with the expected sequence but without read-back the relay is stuck', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    const deps: Controls = { controls: { readBack: false } }
    await lostAck(box, deps)
    await box.windowOver()
    const run = box.relay(deps)
    await until('the relay waits', () => run.status().error !== null)
    await assert.rejects(run.drained(AbortSignal.timeout(1_000)))
    assert.deepEqual(await box.scan(), ['m0', 'm1', 'n0'])
    await run.end()
  })

  test('a lost answer inside the dedupe window is read back too', async () => {
    await using box = await OutboxBox.open(STREAM)
    await using proxy = await startProxy(box.server.port)
    const link = alone(await box.connect('mailsync', proxy.port))
    box.put('m', 3)
    const seen: ReconcileResult[] = []
    const run = box.relay({ ...link, hooks: { onReconciled: (_user, result) => seen.push(result) } })
    await proxy.dropNext('toClient', (chunk) => chunk.includes('"stream":"EMAIL_EVENTS"') && chunk.includes('"seq":2'))
    await run.drained(AbortSignal.timeout(20_000))
    assert.deepEqual(await box.scan(), ids('m', 3))
    assert.deepEqual(
      seen.map(({ marked }) => marked),
      [0, 1],
    )
    await run.end()
    await link.nc.close()
  })

  /**
   * The first relay has read back and sends its row; the row is held on the wire. A second relay on another machine, with
   * nothing but the same mail, takes the user over and publishes it. After the window the held row arrives.
   */
  async function zombie(box: OutboxBox, deps: Controls): Promise<void> {
    await using proxy = await startProxy(box.server.port)
    const link = await box.connect('mailsync', proxy.port)
    const first = box.relay({ ...link, ...deps })
    await first.drained(AbortSignal.timeout(10_000))
    const held = proxy.holdFrom('toServer', (chunk) => chunk.includes('PUB user.'))
    box.put('m', 2)
    first.wake()
    await held

    const store = box.newStore('b')
    store.adopt(USER, NEXT_EPOCH)
    box.put('m', 2, { store, epoch: NEXT_EPOCH })
    const second = box.relay({ store, epoch: NEXT_EPOCH, ...deps })
    await second.drained(AbortSignal.timeout(10_000))
    await box.windowOver()
    proxy.release()
    await first.drained(AbortSignal.timeout(20_000))
    box.put('n', 2, { store, epoch: NEXT_EPOCH })
    second.wake()
    await second.drained(AbortSignal.timeout(20_000))
    await first.end()
    await second.end()
    await link.nc.close()
  }

  test('a publish of a past owner that arrives late is refused by the stream, and both go on', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    await zombie(box, {})
    assert.deepEqual(await box.scan(), ['m0', 'm1', 'n0', 'n1'])
  })

  test('control: without the expected sequence the late publish of a past owner is a duplicate', async () => {
    await using box = await OutboxBox.open(SHORT_WINDOW)
    await zombie(box, { controls: { expectSequence: false } })
    await until('it is there twice', async () => (await box.scan()).filter((id) => id === 'm0').length === 2)
  })

  test('a refused event counts when the term is over, and only then', async () => {
    await using box = await OutboxBox.open()
    await using proxy = await startProxy(box.server.port)
    const link = await box.connect('mailsync', proxy.port)
    let [owns, refused] = [true, 0]
    const count = { hooks: { onRefused: () => void refused++ } }
    const past = box.relay({ ...link, ...count }, () => owns)
    await past.drained(AbortSignal.timeout(10_000))
    const store = box.newStore('b')
    store.adopt(USER, NEXT_EPOCH)
    box.put('m', 1, { store, epoch: NEXT_EPOCH })
    await box.drain({ store, epoch: NEXT_EPOCH, ...count })
    const held = proxy.holdFrom('toServer', (chunk) => chunk.includes('PUB user.'))
    box.put('m', 1)
    past.wake()
    await held
    owns = false
    proxy.release()
    await until('it is refused', () => refused === 1)

    owns = true
    box.put('n', 1)
    await past.drained(AbortSignal.timeout(20_000))
    box.put('o', 1, { store, epoch: NEXT_EPOCH })
    await box.drain({ store, epoch: NEXT_EPOCH, ...count })
    assert.deepEqual([await box.scan(), refused], [['m0', 'n0', 'o0'], 1])
    await past.end()
    await link.nc.close()
  })

  test('two relays that fight over one user put each event on the stream once', async () => {
    await using box = await OutboxBox.open()
    const store = box.newStore('b')
    store.adopt(USER, NEXT_EPOCH)
    box.put('m', 60)
    box.put('m', 60, { store, epoch: NEXT_EPOCH })
    const runs = [box.relay({ epoch: EPOCH }), box.relay({ store, epoch: NEXT_EPOCH })]
    await Promise.all(runs.map((run) => run.drained(AbortSignal.timeout(30_000))))
    await Promise.all(runs.map((run) => run.end()))
    assert.deepEqual(await box.scan(), ids('m', 60))
  })

  test('a server that is away for a while costs nothing: rows wait, then follow in order', async () => {
    await using box = await OutboxBox.open()
    box.put('m', 3)
    const run = box.relay()
    await run.drained(AbortSignal.timeout(10_000))
    await box.server.stop('SIGKILL')
    box.put('n', 3)
    run.wake()
    await until('the relay says that NATS is away', () => run.status().error === 'NATS_UNAVAILABLE')
    assert.equal(run.status().pending, 3)
    await box.server.start()
    await run.drained(AbortSignal.timeout(30_000))
    assert.deepEqual(await box.scan(), [...ids('m', 3), ...ids('n', 3)])
    assert.equal(run.status().error, null)
    await run.end()
  })
})
