/** The role `consumer` of nats.conf: it reads events, and cannot have the server write for it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { apiPrefix, EVENT_STREAM, EVENT_SUBJECT_ALL, eventSubject } from '#shared/subjects.ts'
import { type NatsServer, startNatsServer } from '../support/nats-server.ts'
import { until } from '../support/until.ts'
import { connectAs } from './login.ts'
import { natsConf, startTapped, startWith, tapped, temporaryDir } from './own-conf.ts'
import { answerElsewhere, FOREIGN_SUBJECTS, listen, makeStreams, publishEvent, tryEverything } from './readers.ts'

const OWN = 'consumer'
const API = apiPrefix(OWN)
const ROUNDS = 3

/** A server with events of two users, a consumer for the role, and one of somebody else. */
async function open(stack: AsyncDisposableStack, server: NatsServer) {
  const ops = await connectAs(stack, server, 'ops', server.passwords.ops)
  await makeStreams(ops)
  const jsm = await jetstreamManager(ops)
  for (const [name, filter] of [
    [OWN, EVENT_SUBJECT_ALL],
    ['bob', eventSubject('bob')],
  ] as const)
    await jsm.consumers.add(EVENT_STREAM, {
      durable_name: name,
      filter_subject: filter,
      ack_policy: AckPolicy.Explicit,
    })
  for (const user of ['ada', 'bob', 'ada']) await publishEvent(ops, user)
  return { ops, jsm }
}

test('the role consumer reads all events by its consumer and one by one, and acknowledges them', async () => {
  await using stack = new AsyncDisposableStack()
  const server = stack.use(await startNatsServer())
  const { jsm } = await open(stack, server)
  const reader = await connectAs(stack, server, OWN, server.passwords.consumer)
  const consumer = await jetstream(reader, { apiPrefix: API }).consumers.get(EVENT_STREAM, OWN)
  const read: string[] = []
  for await (const message of await consumer.fetch({ max_messages: 3 })) {
    read.push(message.subject)
    assert.equal(await message.ackAck(), true)
  }
  assert.deepEqual(read, ['ada', 'bob', 'ada'].map(eventSubject))
  const { num_ack_pending, num_pending } = await jsm.consumers.info(EVENT_STREAM, OWN)
  assert.deepEqual([num_ack_pending, num_pending], [0, 0])
  const own = await jetstreamManager(reader, { apiPrefix: API, checkAPI: false })
  assert.equal((await own.streams.info(EVENT_STREAM)).state.last_seq, 3)
  const one = await own.direct.getMessage(EVENT_STREAM, { seq: 1, next_by_subj: eventSubject('bob') })
  assert.equal(one?.seq, 2)
})

test('the role consumer is refused everything else', async (t) => {
  await using stack = new AsyncDisposableStack()
  const server = await startTapped(stack)
  const { ops } = await open(stack, server)
  const reader = await connectAs(stack, server, OWN, server.passwords.consumer)
  const heard = await listen(ops)
  const { tried, passed } = await tryEverything(reader, OWN)
  assert.deepEqual(passed, [])
  assert.deepEqual([...heard], [])
  t.diagnostic(`${tried} attempts, all refused`)
})

test('whatever subject the role consumer wants its answers on, nothing comes out in the account of the service', async () => {
  await using stack = new AsyncDisposableStack()
  const server = await startTapped(stack)
  const { ops, jsm } = await open(stack, server)
  const reader = await connectAs(stack, server, OWN, server.passwords.consumer)
  const heard = await listen(ops)
  for (let round = 0; round < ROUNDS; round++)
    await answerElsewhere(reader, [
      [`${API}.STREAM.INFO.${EVENT_STREAM}`, ''],
      [`${API}.DIRECT.GET.${EVENT_STREAM}`, '{"seq":1}'],
      [`${API}.CONSUMER.INFO.${EVENT_STREAM}.${OWN}`, ''],
      [`${API}.CONSUMER.MSG.NEXT.${EVENT_STREAM}.${OWN}`, '{"batch":1,"no_wait":true}'],
      [`$JS.ACK.${EVENT_STREAM}.${OWN}.1.2.2.1700000000000000000.0`, '+NXT {"batch":1,"no_wait":true}'],
    ])
  // What was asked first is answered first: the last request of each kind is answered where it can be seen.
  const own = await jetstreamManager(reader, { apiPrefix: API, checkAPI: false })
  await own.streams.info(EVENT_STREAM)
  await own.direct.getMessage(EVENT_STREAM, { seq: 1, next_by_subj: EVENT_SUBJECT_ALL })
  await publishEvent(ops, 'eve')
  const consumer = await jetstream(reader, { apiPrefix: API }).consumers.get(EVENT_STREAM, OWN)
  assert.equal((await consumer.next())?.subject, eventSubject('eve'))
  await ops.flush()
  assert.deepEqual([...heard], [])
  assert.equal((await jsm.streams.info('KV_mail_leases')).state.messages, 0)
  assert.equal((await jsm.streams.info(EVENT_STREAM)).state.messages, 4)
})

test('control: a reader inside the account of the service has the server write requests, records and events', async () => {
  await using stack = new AsyncDisposableStack()
  const rights = ['CONSUMER.CREATE', 'CONSUMER.MSG.NEXT']
    .map((verb) => `"$JS.API.${verb}.${EVENT_STREAM}.>"`)
    .join(', ')
  const inside = `{ user: inside, password: p-inside, permissions {
    publish { allow: [ ${rights} ] }, subscribe { allow: [ "_INBOX_inside.>" ] } } }`
  const conf = (await natsConf()).replace('{ user: ops,', `${inside}\n      { user: ops,`)
  const server = await startWith(stack, await temporaryDir(stack), tapped(conf))
  const { ops, jsm } = await open(stack, server)
  const reader = await connectAs(stack, server, 'inside', 'p-inside')
  const heard = await listen(ops)
  const next = `$JS.API.CONSUMER.MSG.NEXT.${EVENT_STREAM}.${OWN}`
  // Those that come last are told that there is nothing more.
  for (let round = 0; round < ROUNDS; round++) await answerElsewhere(reader, [[next, '{"batch":1,"no_wait":true}']])
  await until('the answers come out where they were wanted', () => heard.size === FOREIGN_SUBJECTS.length)
  const written = async (): Promise<number> => (await jsm.streams.info('KV_mail_leases')).state.messages
  await until('one of them is a record of the bucket', async () => (await written()) > 0)
  const target = 'mail.as.eve.disconnect'
  let pushed = 0
  ops.subscribe(target, { callback: () => void pushed++ })
  await ops.flush()
  const config = { name: 'pushed', ack_policy: 'none', deliver_subject: target }
  const request = JSON.stringify({ stream_name: EVENT_STREAM, config })
  const reply = await reader.request(`$JS.API.CONSUMER.CREATE.${EVENT_STREAM}.pushed`, request, { timeout: 5_000 })
  assert.equal(reply.json<{ error?: unknown }>().error, undefined)
  await publishEvent(ops, 'ada')
  await until('events come out as requests of a trusted service', () => pushed > 0)
})
