/** Threat T5: messages of others on a user's subject, also such as the client library cannot read. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createLog } from '#shared/log.ts'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import type { ReconcileResult } from '../../services/mail/outbox/deps.ts'
import { SubjectLog } from '../../services/mail/outbox/subject-log.ts'
import { ids, OutboxBox, STREAM, USER } from '../mail/outbox/support.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { until } from '../support/until.ts'
import { amount, chunks } from './amount.ts'
import { RawNats } from './raw-nats.ts'

const MESSAGES = amount(2_000, 10_000, 10_000)
const log = createLog('test', 'silent')
const BLOCKS = [
  'NATS/1.0\r\na b: x\r\n\r\n',
  'NATS/1.0\r\nx: a\rb\r\n\r\n',
  'NATS/1.0\r\nNats-Msg-Id: a\nb\r\n\r\n',
  'NATS/1.0 503\r\n\r\n',
  'nonsense',
]

test('messages whose headers cannot be read are listed without an id, and the subject is read to its end', async (t) => {
  await using box = await OutboxBox.open()
  const raw = await RawNats.connect(box.server.url, { user: 'mailsync', pass: box.server.passwords.mailsync })
  t.after(() => raw[Symbol.asyncDispose]())
  const subject = eventSubject(USER)
  for (const block of BLOCKS) raw.publish(subject, Buffer.from(block), Buffer.from('{}'))
  raw.publish(subject, Buffer.from('NATS/1.0\r\nNats-Msg-Id: mine\r\n\r\n'), Buffer.from('{}'))
  const subjectLog = new SubjectLog(box.link.js, box.link.jsm, subject, log)
  await until('all are stored', async () => (await subjectLog.facts()).lastSeq === BLOCKS.length + 1)
  const entries = await subjectLog.entries(1, 100, AbortSignal.timeout(10_000))
  assert.deepEqual(
    entries.map(({ msgId }) => msgId),
    [...BLOCKS.map(() => null), 'mine'],
  )
  const seqs: number[] = []
  for await (const batch of subjectLog.read(1, BLOCKS.length + 1, AbortSignal.timeout(10_000)))
    seqs.push(...batch.map(({ seq }) => seq))
  assert.deepEqual(seqs, [1, 2, 3, 4, 5, 6])
})

/** What no event of ours is, out of one that is. */
const payloadsFrom = (event: string): fc.Arbitrary<Buffer> =>
  fc.oneof(
    fc
      .constantFrom(
        '',
        'null',
        '{}',
        '{"event_id":1}',
        '\ufeff{}',
        '['.repeat(5_000),
        '\0'.repeat(1_000),
        event.slice(0, -1),
        event.replace(`"user_id":"${USER}"`, '"user_id":"eve"'),
        event.replace(/"event_id":"./, '"event_id":"x'),
        event.replace(/"provider_message_id":"./, '"provider_message_id":"x'),
        event.replace(`"user_id":"${USER}"`, '"__proto__":{"polluted":true},"user_id":"eve"'),
      )
      .map((text) => Buffer.from(text)),
    fc.json().map((text) => Buffer.from(text)),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  )
const blocks = fc.oneof(
  fc.constant(null),
  fc.constantFrom(...BLOCKS).map((block) => Buffer.from(block)),
  fc
    .array(
      fc.tuple(fc.constantFrom('x', 'a b', 'Nats-Msg-Id ', 'Status', ''), fc.string({ unit: 'binary', maxLength: 20 })),
    )
    .map((lines) => Buffer.from(`NATS/1.0\r\n${lines.map((line) => line.join(':')).join('\r\n')}\r\n\r\n`)),
  fc.uint8Array({ minLength: 1, maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
)

test('between messages of others, of any form, each event of ours stands there once and in order', async (t) => {
  // Without nats.conf, which waits for the disk at each write.
  await using box = await OutboxBox.open(STREAM, () => startNatsServer({ conf: 'open' }))
  const raw = await RawNats.connect(box.server.url)
  t.after(() => raw[Symbol.asyncDispose]())
  const { jsm } = box.link
  box.put('first', 1)
  await box.drain()
  const event = (await jsm.streams.getMessage(EVENT_STREAM, { seq: 1 }))?.string() ?? assert.fail()
  let foreign = 0
  const onReconciled = (_user: string, result: ReconcileResult): void => {
    foreign += result.foreign
  }
  const hooks = { onReconciled }
  const expected = ['first0']
  for (const chunk of chunks(fc.tuple(blocks, payloadsFrom(event)), MESSAGES)) {
    for (const [block, payload] of chunk) raw.publish(eventSubject(USER), block, payload)
    const prefix = `m${expected.length}x`
    box.put(prefix, 10)
    await box.drain({ hooks })
    expected.push(...ids(prefix, 10))
  }
  raw.publish(eventSubject(USER), null, Buffer.from('the last one'))
  await until('all are stored', async () => {
    const last = await jsm.streams.getMessage(EVENT_STREAM, { last_by_subj: eventSubject(USER) })
    return last?.string() === 'the last one'
  })
  await box.drain({ hooks })
  // The text of the first event is what the others were made of: its id stands in many of theirs.
  const [first, ...own] = expected
  const found = await box.scan()
  assert.equal(found[0], first)
  assert.deepEqual(
    found.filter((id) => own.includes(id)),
    own,
  )
  const { messages } = (await jsm.streams.info(EVENT_STREAM)).state
  assert.equal(foreign, messages - expected.length, 'all others are counted, and no event of ours among them')
  assert.ok(foreign > MESSAGES * 0.9, `the server has taken ${foreign} of ${MESSAGES}`)
  assert.ok(!('polluted' in {}))
  t.diagnostic(`${foreign} messages of others between ${expected.length} events, each of these once`)
})
