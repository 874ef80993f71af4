/** Batches of events on a stream of which three servers have a copy, and whose leader changes while they are published. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import { knowsBatches } from '../../../services/mail/kv/atomic-batch.ts'
import { knownSeq } from '../../../services/mail/store/known.ts'
import { startNatsCluster } from '../../support/nats-cluster.ts'
import { until } from '../../support/until.ts'
import { EPOCH, ids, OutboxBox, SHORT_WINDOW } from './support.ts'

const USERS = ['ada', 'bob', 'eve']
const ROWS = 400

test('while the leader of a replicated stream changes each event is stored once, in order, where it is known to be', async () => {
  await using box = await OutboxBox.open({ ...SHORT_WINDOW, replicas: 3 }, startNatsCluster)
  const { nc } = await box.connect('ops')
  for (const userId of USERS) {
    box.store.adopt(userId, EPOCH)
    box.put(`${userId}-`, ROWS, { userId })
  }
  const runs = USERS.map((userId) => box.relay({ userId }))
  const drained = Promise.all(runs.map((run) => run.drained(AbortSignal.timeout(50_000))))
  let changes = 0
  for (let isOver = false; !isOver; changes++) {
    await until('another one leads', async () => {
      const answer = await nc.request(`$JS.API.STREAM.LEADER.STEPDOWN.${EVENT_STREAM}`)
      return answer.json<{ success?: boolean }>().success === true
    })
    isOver = await Promise.race([drained.then(() => true), box.windowOver().then(() => false)])
  }
  await drained
  await Promise.all(runs.map((run) => run.end()))
  let batched = 0
  for (const userId of USERS) {
    assert.deepEqual(await box.scan(userId), ids(`${userId}-`, ROWS))
    const { last_seq } = (await box.link.jsm.streams.info(EVENT_STREAM)).state
    for (let seq = 1; seq <= last_seq; seq++) {
      const message = await box.link.jsm.streams.getMessage(EVENT_STREAM, { seq })
      if (message?.subject !== eventSubject(userId)) continue
      const msgId = message.header.get('Nats-Msg-Id')
      assert.equal(
        box.store.read(userId, (db) => knownSeq(db, msgId)),
        seq,
      )
      if (message.header.get('Nats-Batch-Id') !== '') batched++
    }
  }
  assert.ok(changes > 0)
  assert.equal(batched > 0, knowsBatches(nc))
})
