/** The audit trail: a record that may be there already comes once, also when the server has forgotten its id. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TRAIL_STREAM, TRAIL_SUBJECT_ALL, trailSubject } from '#shared/subjects.ts'
import { type TrailFacts, type TrailRecord, trailRecord } from '#shared/trail.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { openJetStream } from '../../../services/mail/outbox/jetstream.ts'
import { Trail } from '../../../services/mail/outbox/trail.ts'
import { ensureTrailStream } from '../../../services/mail/outbox/trail-stream.ts'
import { until } from '../../support/until.ts'
import { kvBox, log } from '../kv/support.ts'

const SHORTEST_WINDOW_NS = 100_000_000

const recordOf = (facts: Partial<TrailFacts> = {}): TrailRecord =>
  trailRecord({
    ...{ action: 'connect', userId: 'ada', provider: 'google', by: 'user', instance: 'a', atS: 1_700_000_000 },
    requestId: 'r',
    ...facts,
  })

async function trailBox() {
  const box = await kvBox()
  const { js, jsm } = await openJetStream(box.nc)
  await ensureTrailStream(jsm, 1)
  const trail = new Trail({ js, jsm, clock: systemClock, log })
  const all = async (): Promise<TrailRecord[]> => {
    const { state } = await jsm.streams.info(TRAIL_STREAM)
    const found: TrailRecord[] = []
    for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
      const message = await jsm.streams.getMessage(TRAIL_STREAM, { seq })
      if (message !== null) found.push(message.json())
    }
    return found
  }
  return { server: box.server, jsm, js, trail, all, [Symbol.asyncDispose]: () => box[Symbol.asyncDispose]() }
}

test('a record that is appended again comes once, also when others stand behind it and its id was forgotten', async () => {
  await using box = await trailBox()
  await box.jsm.streams.update(TRAIL_STREAM, { duplicate_window: SHORTEST_WINDOW_NS })
  const [first, second, third] = [recordOf(), recordOf(), recordOf()]
  for (const record of [first, second]) await box.trail.append(record)
  // Published after them: when the server takes its id again it has forgotten theirs.
  const probe = (): ReturnType<typeof box.js.publish> =>
    box.js.publish(trailSubject('probe', 'connect'), '{}', { msgID: 'probe' })
  await probe()
  await until('the ids are forgotten', async () => !(await probe()).duplicate, { everyMs: 200 })
  await Promise.all([box.trail.append(first), box.trail.append(third), box.trail.append(first)])
  const ids = (await box.all()).map(({ id }) => id).filter((id) => id !== undefined)
  assert.deepEqual(ids, [first.id, second.id, third.id])
})

test('records that many instances append to one subject at the same moment come once each', async () => {
  await using box = await trailBox()
  const records = Array.from({ length: 20 }, () => recordOf({ action: 'rekey', userId: null, provider: null }))
  await Promise.all(records.flatMap((record) => [box.trail.append(record), box.trail.append(record)]))
  const ids = (some: readonly TrailRecord[]): string[] => some.map(({ id }) => id).toSorted()
  assert.deepEqual(ids(await box.all()), ids(records))
})

test('a record that is noted comes beside the work; a stop waits for it', async () => {
  await using box = await trailBox()
  const records = [recordOf(), recordOf({ action: 'rekey', userId: null, provider: null }), recordOf({ userId: 'a.b' })]
  for (const record of records) box.trail.note(record)
  await box.trail[Symbol.asyncDispose]()
  const ids = (some: readonly TrailRecord[]): string[] => some.map(({ id }) => id).toSorted()
  assert.deepEqual(ids(await box.all()), ids(records))
})

test('the stream keeps the last records of each user and action, and is refused when they could be deleted', async () => {
  await using box = await trailBox()
  const { config } = await box.jsm.streams.info(TRAIL_STREAM)
  assert.deepEqual(config.subjects, [TRAIL_SUBJECT_ALL])
  assert.equal(config.deny_delete && config.deny_purge, true)
  await box.jsm.streams.update(TRAIL_STREAM, { max_msgs_per_subject: 2 })
  const records = [recordOf(), recordOf(), recordOf(), recordOf({ userId: 'grace' })]
  for (const record of records) await box.trail.append(record)
  assert.deepEqual(
    (await box.all()).map(({ id }) => id),
    records.slice(1).map(({ id }) => id),
  )
  await ensureTrailStream(box.jsm, 1)
  await box.jsm.streams.update(TRAIL_STREAM, { allow_rollup_hdrs: false, max_msgs: 10 })
  await assert.rejects(ensureTrailStream(box.jsm, 1), /MAIL_AUDIT: max_msgs is 10, -1 is needed/)
})

test('a stop while NATS is away gives up what waits with the first that is not taken', async () => {
  await using box = await trailBox()
  let tries = 0
  const js = new Proxy(box.js, {
    get: (target, name) => {
      if (name !== 'publish') return Reflect.get(target, name, target)
      return (...args: Parameters<typeof target.publish>) => {
        tries += 1
        return target.publish(...args)
      }
    },
  })
  const trail = new Trail({ js, jsm: box.jsm, clock: systemClock, log })
  await box.server.stop()
  for (let i = 0; i < 100; i++) trail.note(recordOf())
  await trail[Symbol.asyncDispose]()
  assert.ok(tries < 10, `${tries} of 100 were tried, two seconds each`)
})
