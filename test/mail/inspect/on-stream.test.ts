/** Where an event stands: on a real stream, also when nobody was told so, and when the stream holds it no longer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventId } from '#shared/event.ts'
import { createLog } from '#shared/log.ts'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import { why } from '../../../services/mail/inspect/why.ts'
import { SubjectLog } from '../../../services/mail/outbox/subject-log.ts'
import { setKnownSeq } from '../../../services/mail/store/known.ts'
import { storeNew } from '../../../services/mail/store/messages.ts'
import { dueRows } from '../../../services/mail/store/outbox-rows.ts'
import { ACCOUNT, EPOCH, OutboxBox, USER } from '../outbox/support.ts'
import { mail } from '../store/support.ts'

const log = createLog('test', 'silent')

async function told(box: OutboxBox, messageId: string, store = box.store) {
  const { answers } = await why(
    USER,
    { message_id: messageId },
    {
      store,
      accounts: [ACCOUNT],
      instance: 'a',
      subjectLog: new SubjectLog(box.link.js, box.link.jsm, eventSubject(USER), log),
      log,
      ask: () => assert.fail('what is stored is not asked for'),
    },
  )
  const [answer] = answers
  assert.ok(answer?.is === 'stored', JSON.stringify(answers))
  return answer
}
const stream = async (box: OutboxBox, messageId: string) => Object.values((await told(box, messageId)).stream)

test('an event that waits, one whose acknowledgement was lost, and one that was published', async () => {
  await using box = await OutboxBox.open()
  box.put('old', 1)
  await box.drain()
  box.put('m', 2)
  assert.deepEqual(await stream(box, 'old0'), ['on_stream', 1])
  assert.deepEqual(
    [await stream(box, 'm0'), await stream(box, 'm1')],
    [
      ['waiting', null],
      ['waiting', null],
    ],
  )
  const [row] = box.store.read(USER, (db) => dueRows(db, 1))
  await box.link.js.publish(eventSubject(USER), row?.payload ?? '', { msgID: row?.msgId ?? '' })
  const lost = await told(box, 'm0')
  assert.deepEqual([lost.outbox?.published_at, Object.values(lost.stream)], [null, ['on_stream', 2]])
  assert.deepEqual(await stream(box, 'm1'), ['waiting', null])
  await box.drain()
  assert.deepEqual(
    [await stream(box, 'm0'), await stream(box, 'm1')],
    [
      ['on_stream', 2],
      ['on_stream', 3],
    ],
  )
})

test('an event that the stream holds no longer, one that was never published, and a stream that cannot be read', async () => {
  await using box = await OutboxBox.open()
  box.put('m', 1)
  await box.drain()
  box.store.commit(USER, EPOCH, (tx) => storeNew(tx, ACCOUNT, [mail('doubtful')], Date.now(), () => true))
  assert.deepEqual(await stream(box, 'doubtful'), ['not_published', null])
  const ops = await box.connect('ops')
  await ops.jsm.streams.purge(EVENT_STREAM)
  // Another message may stand at the sequence of a stream that went backwards: it is not taken for the event.
  assert.deepEqual(await stream(box, 'm0'), ['gone', 1])
  await ops.jsm.streams.delete(EVENT_STREAM)
  assert.deepEqual(await stream(box, 'm0'), ['unknown', 1])
})

test('a mail whose page is not known, and one that was published from another disk, are told as that', async () => {
  await using box = await OutboxBox.open()
  box.put('m', 1)
  const { page, listed_by, stored_at } = await told(box, 'm0')
  assert.deepEqual([page, listed_by, stored_at === null], [null, null, false])
  await box.drain()
  const elsewhere = box.newStore('b')
  elsewhere.adopt(USER, EPOCH)
  elsewhere.commit(USER, EPOCH, (tx) => setKnownSeq(tx, eventId(USER, 'GOOGLE', 'primary', 'm0'), 1))
  const there = await told(box, 'm0', elsewhere)
  assert.deepEqual([there.stored_at, there.outbox, Object.values(there.stream)], [null, null, ['on_stream', 1]])
})
