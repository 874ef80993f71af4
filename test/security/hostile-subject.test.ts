/** Threat T5: messages of others on a user's subject, also such as the client library cannot read. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLog } from '#shared/log.ts'
import { eventSubject } from '#shared/subjects.ts'
import { SubjectLog } from '../../services/mail/outbox/subject-log.ts'
import { OutboxBox, USER } from '../mail/outbox/support.ts'
import { until } from '../support/until.ts'
import { RawNats } from './raw-nats.ts'

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
