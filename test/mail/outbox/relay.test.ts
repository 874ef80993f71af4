import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { headers } from '#shared/nats.ts'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import type { ReconcileResult } from '../../../services/mail/outbox/deps.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import { outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import { StaleEpochError } from '../../../services/mail/store/user-store.ts'
import { natsConf, temporaryDir } from '../../security/own-conf.ts'
import { startNatsServer } from '../../support/nats-server.ts'
import { until } from '../../support/until.ts'
import { EPOCH, ids, NEXT_EPOCH, OutboxBox, STREAM, USER } from './support.ts'

test('rows appear once on the subject of their user, in the order in which they were stored, and are marked', async () => {
  await using box = await OutboxBox.open()
  box.store.adopt('a.b@c', EPOCH)
  box.put('m', 120)
  box.put('n', 3, { userId: 'a.b@c' })
  const published: string[] = []
  const drained: number[] = []
  const hooks = {
    onPublished: (user: string, count: number) => published.push(`${user} ${count}`),
    onDrained: (_user: string, lastId: number) => drained.push(lastId),
  }
  await Promise.all([box.drain({ hooks }), box.drain({ userId: 'a.b@c' })])
  assert.deepEqual(await box.scan(), ids('m', 120))
  assert.deepEqual(await box.scan('a.b@c'), ids('n', 3))
  assert.deepEqual([published.length, drained], [120, [120]])
  const { pending, meta } = box.store.read(USER, (db) => ({ ...outboxDepth(db), meta: readMeta(db) }))
  assert.equal(pending, 0)
  const last = await box.link.jsm.streams.getMessage(EVENT_STREAM, { last_by_subj: eventSubject(USER) })
  assert.deepEqual([meta?.lastSeq, meta?.lastEventId], [last?.seq, last?.header.get('Nats-Msg-Id')])
})

test('a wake brings what was stored since onto the stream, and status tells what waits', async () => {
  await using box = await OutboxBox.open()
  const run = box.relay()
  await run.drained(AbortSignal.timeout(10_000))
  assert.deepEqual(run.status(), { pending: 0, oldestTsMs: null, error: null, streamReset: false, gaps: {} })
  box.put('m', 2)
  run.wake()
  assert.equal(run.status().pending, 2)
  await run.drained(AbortSignal.timeout(10_000))
  assert.deepEqual([await box.scan(), run.status().pending], [ids('m', 2), 0])
  await run.end()
  await assert.rejects(run.drained(AbortSignal.timeout(10_000)), /the test ends the relay/)
})

test('published rows are deleted once they are older than the keeping time', async () => {
  await using box = await OutboxBox.open()
  box.put('m', 3)
  await box.drain({ config: { keepMs: -10_000 } })
  assert.equal(
    box.store.read(USER, (db) => outboxDepth(db).lastId),
    0,
  )
})

test('a relay that does not own its user publishes nothing until it does', async () => {
  await using box = await OutboxBox.open()
  box.put('m', 2)
  let owns = false
  let asked = 0
  const run = box.relay({}, () => {
    asked++
    return owns
  })
  await until('the relay has asked', () => asked > 1)
  assert.deepEqual(await box.scan(), [])
  owns = true
  await run.drained(AbortSignal.timeout(10_000))
  assert.deepEqual(await box.scan(), ids('m', 2))
  await run.end()
})

test('a relay whose term was overtaken ends with StaleEpochError', async () => {
  await using box = await OutboxBox.open()
  const run = box.relay()
  await run.drained(AbortSignal.timeout(10_000))
  box.store.adopt(USER, NEXT_EPOCH)
  box.put('m', 1, { epoch: NEXT_EPOCH })
  run.wake()
  await assert.rejects(run.done, StaleEpochError)
  await box.drain({ epoch: NEXT_EPOCH })
  assert.deepEqual(await box.scan(), ids('m', 1))
})

test('a full stream holds the rows back and says so; once it has room they go on, none lost, in order', async () => {
  await using box = await OutboxBox.open({ ...STREAM, maxBytes: 8_000 })
  box.put('m', 30)
  const run = box.relay()
  await until('the stream is full', () => run.status().error === 'STREAM_FULL')
  const before = await box.scan()
  assert.deepEqual(before, ids('m', before.length))
  assert.ok(before.length > 0 && before.length < 30)
  assert.equal(run.status().pending, 30 - before.length)
  await box.ensureStream({ ...STREAM, maxBytes: 1_000_000 })
  await run.drained(AbortSignal.timeout(20_000))
  assert.deepEqual([await box.scan(), run.status().error], [ids('m', 30), null])
  await run.end()
})

test('an event larger than the server takes is cut and published, and those behind it follow', async () => {
  await using box = await OutboxBox.open()
  const ops = await box.connect('ops')
  await ops.jsm.streams.update(EVENT_STREAM, { max_msg_size: 3_000 })
  box.put('m', 1, { mail: { snippet: 'long '.repeat(2_000) } })
  box.put('n', 1)
  await box.drain()
  assert.deepEqual(await box.scan(), ['m0', 'n0'])
  const event = (await box.link.jsm.streams.getMessage(EVENT_STREAM, { seq: 1 }))?.json<{ truncated: string[] }>()
  assert.deepEqual(event?.truncated, ['snippet'])
})

test('an event that no message can carry is cut, though the relay has begun to send it with others', async () => {
  await using stack = new AsyncDisposableStack()
  const dir = await temporaryDir(stack)
  const conf = join(dir, 'small.conf')
  await writeFile(conf, (await natsConf()).replace('max_payload: 1MB', 'max_payload: 8KB'))
  await using box = await OutboxBox.open(STREAM, () => startNatsServer({ dir, args: ['-c', conf] }))
  box.put('m', 2)
  box.put('n', 1, { mail: { snippet: 'long '.repeat(3_000) } })
  box.put('o', 2)
  await box.drain()
  assert.deepEqual(await box.scan(), ['m0', 'm1', 'n0', 'o0', 'o1'])
  const event = (await box.link.jsm.streams.getMessage(EVENT_STREAM, { seq: 3 }))?.json<{ truncated: string[] }>()
  assert.deepEqual(event?.truncated, ['snippet'])
})

test('a payload that the disk changed is rebuilt from the mail before it is published', async () => {
  await using box = await OutboxBox.open()
  box.put('m', 1)
  box.store.commit(USER, EPOCH, (tx) =>
    tx.db.run("UPDATE outbox SET payload = CAST(replace(payload, 'Hello', 'Jello') AS BLOB)"),
  )
  await box.drain()
  const event = (await box.link.jsm.streams.getMessage(EVENT_STREAM, { seq: 1 }))?.json<{ snippet: string }>()
  assert.equal(event?.snippet, 'Hello')
})

test('foreign messages on the subject are counted and passed over', async () => {
  await using box = await OutboxBox.open()
  const ops = await box.connect('ops')
  box.put('m', 2)
  await box.drain()
  const own = await box.link.jsm.streams.getMessage(EVENT_STREAM, { seq: 1 })
  assert.ok(own !== null)
  const nasty = ['garbage', '', '{"event_id":1}', 'null', own.string().replace('"user_id":"ada"', '"user_id":"eve"')]
  for (const text of [...nasty, '\u0000'.repeat(1_000), '['.repeat(5_000)]) {
    const msgHeaders = headers()
    msgHeaders.set('Nats-Msg-Id', `x-${text.slice(0, 20).length}-${text.length}`)
    await ops.js.publish(eventSubject(USER), text, { headers: msgHeaders })
  }
  box.put('n', 2)
  const seen: ReconcileResult[] = []
  const hooks = { onReconciled: (_user: string, result: ReconcileResult) => seen.push(result) }
  await box.drain({ hooks })
  assert.deepEqual(
    seen.map(({ foreign }) => foreign),
    [nasty.length + 2],
  )
  const events = (await box.scan()).filter((text) => /^[mn]\d$/.test(text))
  assert.deepEqual(events, [...ids('m', 2), ...ids('n', 2)])
  // A last message that is not ours is no sign of a stream that went backwards.
  await ops.js.publish(eventSubject(USER), 'garbage at the end')
  await box.drain({ hooks })
  await box.drain({ hooks })
  assert.deepEqual(
    seen.map(({ rolledBack }) => rolledBack),
    [false, false, false],
  )
})
