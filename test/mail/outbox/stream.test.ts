import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StreamConfig } from '@nats-io/jetstream'
import { EXIT_CONFIG } from '#shared/lifecycle.ts'
import { EVENT_STREAM } from '#shared/subjects.ts'
import { knowsBatches } from '../../../services/mail/kv/atomic-batch.ts'
import { ensureEventStream, refuseCapturedSubjects } from '../../../services/mail/outbox/stream.ts'
import { deleteStream } from '../../support/delete-stream.ts'
import { OutboxBox, STREAM } from './support.ts'

const refusal = (pattern: RegExp) => (error: { exitCode?: number; message: string }) => {
  assert.match(error.message, pattern)
  return error.exitCode === EXIT_CONFIG
}

test('the stream is made once, its limits follow the configuration, its creation time stays', async () => {
  await using box = await OutboxBox.open()
  const { jsm } = box.link
  const first = await ensureEventStream(jsm, STREAM)
  const again = await ensureEventStream(jsm, { retentionDays: 7, dedupeWindowMs: 30_000, maxBytes: 32 * 1024 ** 2 })
  assert.deepEqual(again, first)
  assert.equal(first.isAtomic, knowsBatches(box.link.nc))
  const { config, created } = await jsm.streams.info(EVENT_STREAM)
  assert.equal(first.createdMs, Date.parse(created))
  const { subjects, storage, discard, max_age, duplicate_window, max_bytes, deny_delete, allow_direct } = config
  assert.deepEqual(
    { subjects, storage, discard, max_age, duplicate_window, max_bytes, deny_delete, allow_direct },
    {
      subjects: ['user.*.email.>'],
      storage: 'file',
      discard: 'new',
      max_age: 7 * 86_400e9,
      duplicate_window: 30e9,
      max_bytes: 32 * 1024 ** 2,
      deny_delete: false,
      allow_direct: true,
    },
  )
})

test('two instances that start at the same time agree on one stream', async () => {
  await using box = await OutboxBox.open()
  const ops = await box.connect('ops')
  await deleteStream(ops.jsm, EVENT_STREAM)
  const { jsm } = await box.connect()
  const made = await Promise.all([ensureEventStream(box.link.jsm, STREAM), ensureEventStream(jsm, STREAM)])
  assert.deepEqual(made[0], made[1])
})

test('a stream that could lose or change events is refused, naming field, found and wanted', async () => {
  await using box = await OutboxBox.open()
  const { jsm } = await box.connect('ops')
  const cases: [Partial<StreamConfig>, RegExp][] = [
    [{ storage: 'memory' } as Partial<StreamConfig>, /EMAIL_EVENTS: storage is "memory", "file" is needed/],
    [{ discard: 'old' } as Partial<StreamConfig>, /discard is "old", "new" is needed/],
    [{ retention: 'interest' } as Partial<StreamConfig>, /retention is "interest", "limits" is needed/],
    [{ subjects: ['user.>'] }, /subjects is \["user.>"\], \["user.\*.email.>"\] is needed/],
    [{ max_msgs: 10 }, /max_msgs is 10, -1 is needed/],
    [{ max_msgs_per_subject: 10 }, /max_msgs_per_subject is 10, -1 is needed/],
    [{ deny_delete: true }, /deny_delete is true, false is needed/],
    [{ no_ack: true }, /no_ack is true, false is needed/],
  ]
  const { config } = await jsm.streams.info(EVENT_STREAM)
  for (const [change, pattern] of cases) {
    await deleteStream(jsm, EVENT_STREAM)
    await jsm.streams.add({ ...config, ...change, name: EVENT_STREAM })
    await assert.rejects(ensureEventStream(box.link.jsm, STREAM), refusal(pattern))
  }
})

test('a stream larger than the server has room for is refused with what to change', async () => {
  await using box = await OutboxBox.open()
  await assert.rejects(
    ensureEventStream(box.link.jsm, { ...STREAM, maxBytes: 1024 ** 5 }),
    refusal(/no room.*MAIL_STREAM_MAX_BYTES/),
  )
})

for (const subject of ['mail.>', 'mail.as.*.connect', 'mail.as.ada.connect', 'mail.status', '*.connect'])
  test(`a stream that captures ${subject} is refused: it would store refresh tokens`, async () => {
    await using box = await OutboxBox.open()
    const ops = await box.connect('ops')
    await refuseCapturedSubjects(box.link.jsm)
    await ops.jsm.streams.add({ name: 'SPY', subjects: [subject], no_ack: true })
    await assert.rejects(refuseCapturedSubjects(box.link.jsm), refusal(/^stream SPY captures subjects of mail\.>/))
  })

test('a stream that captures everything is refused, even if it acknowledges nothing', async () => {
  await using box = await OutboxBox.open()
  const ops = await box.connect('ops')
  // Made out of the one stream that may be there: it would overlap.
  await ops.jsm.streams.update(EVENT_STREAM, { subjects: ['>'], no_ack: true })
  await assert.rejects(
    refuseCapturedSubjects(box.link.jsm),
    refusal(/^stream EMAIL_EVENTS captures subjects of mail\.>/),
  )
})

test('a server without JetStream is refused with what to start', async () => {
  await using box = await OutboxBox.open()
  // The server's own account has none.
  const { jsm } = await box.connect('sys')
  await assert.rejects(ensureEventStream(jsm, STREAM), refusal(/JetStream is off.*-js/))
  await assert.rejects(refuseCapturedSubjects(jsm), refusal(/JetStream is off.*-js/))
})
