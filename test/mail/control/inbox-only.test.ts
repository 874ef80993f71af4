/** Nobody writes with the rights of the service by choosing where its answer goes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Kvm } from '@nats-io/kv'
import { Svcm } from '@nats-io/services'
import { BUCKET_ACCOUNTS, BUCKET_STATE, bucketStream, EVENT_STREAM, eventSubject, isInbox } from '#shared/subjects.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { lastSeq } from '../acceptance/support.ts'

const ASKED = ['mail.status', 'mail.connect', '$SRV.PING.mail-sync', '$SRV.STATS.mail-sync']
const TARGETS = [
  `$KV.${BUCKET_ACCOUNTS}.victim.google.primary`,
  `$KV.${BUCKET_STATE}.victim`,
  eventSubject('victim'),
  `$JS.API.STREAM.PURGE.${EVENT_STREAM}`,
]

test('an inbox is what a client makes, or the server for a request from another account; nothing else', () => {
  for (const reply of ['_INBOX.a.1', '_INBOX_bridge.a.1', '_R_.3t1ft7.IePW13', '_GR_.a.b.c'])
    assert.ok(isInbox(reply), reply)
  for (const reply of [...TARGETS, 'mail.as.victim.disconnect', '_INBOXES.a', 'x._INBOX.a', '_R', '$SYS.x'])
    assert.ok(!isInbox(reply), reply)
})

/** Asks as the bridge, which may write nothing, with answers that would write; then waits until all were handled. */
async function forge(box: Sandbox): Promise<void> {
  const bridge = await box.connection('bridge')
  for (const subject of ASKED) for (const reply of TARGETS) bridge.publish(subject, 'x', { reply })
  for (const subject of ASKED) await bridge.request(subject, '', { timeout: 3_000 })
}
async function written(box: Sandbox): Promise<number[]> {
  const ops = await box.connection('ops')
  return [
    await lastSeq(ops, bucketStream(BUCKET_ACCOUNTS)),
    await lastSeq(ops, bucketStream(BUCKET_STATE)),
    await lastSeq(ops, EVENT_STREAM),
  ]
}

test('a request whose reply is no inbox is not answered, and nothing is written', async () => {
  await using box = await sandbox()
  await box.start('a')
  const before = await written(box)
  await forge(box)
  assert.deepEqual(await written(box), before)
})

test('control: without the guard the answer of the framework is stored as a record of the victim', async () => {
  await using box = await sandbox()
  await (await box.start('a')).stop()
  const nc = await box.connection('mailsync')
  await new Svcm(nc).add({ name: 'mail-sync', version: '1.0.0' })
  const bridge = await box.connection('bridge')
  await nc.flush()
  bridge.publish('$SRV.PING.mail-sync', '', { reply: `$KV.${BUCKET_STATE}.victim` })
  await bridge.request('$SRV.PING.mail-sync', '', { timeout: 3_000 })
  await nc.flush()
  const kv = await new Kvm(await box.connection('ops')).open(BUCKET_STATE)
  assert.match((await kv.get('victim'))?.string() ?? '', /ping_response/)
})
