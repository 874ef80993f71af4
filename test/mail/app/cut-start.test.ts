/** A link that is lost in the middle of a start delays the start, by real processes: it comes to its end. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { BUCKET_ACCOUNTS, bucketStream } from '#shared/subjects.ts'
import { deleteStream } from '../../support/delete-stream.ts'
import { type Direction, startProxy } from '../../support/proxy.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'

/** Starts the instance and resets its link as soon as it sends, or gets, these bytes. Resolves when it runs. */
async function startCutAt(box: Sandbox, direction: Direction, bytes: string): Promise<void> {
  await using proxy = await startProxy(box.nats.port)
  const reached = proxy.holdFrom(direction, (chunk) => chunk.includes(bytes))
  const starting = box.spawn('a', { NATS_URL: `nats://127.0.0.1:${proxy.port}` })
  await Promise.race([reached, starting])
  proxy.cut()
  proxy.release()
  proxy.heal()
  const instance = await starting
  assert.equal(instance.child.exitCode, null)
  assert.equal(await instance.kill('SIGTERM'), 0)
}

for (const [step, direction, bytes] of [
  ['the stream', 'toClient', 'stream_names_response'],
  ['the buckets', 'toClient', '"KV_mail_leases"'],
  ['the endpoints', 'toServer', '$SRV.PING'],
] as const)
  test(`at ${step}`, async () => {
    await using box = await sandbox()
    await startCutAt(box, direction, bytes)
  })

test('while accounts are brought back', async () => {
  await using box = await sandbox()
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const first = await box.spawn('a')
  await box.connect(nc, 'ada', 'google', { n: 3 })
  await box.allLive(nc, ['ada'])
  assert.equal(await first.kill('SIGTERM'), 0)
  await deleteStream(await jetstreamManager(ops), bucketStream(BUCKET_ACCOUNTS))
  await startCutAt(box, 'toServer', `HPUB $KV.${BUCKET_ACCOUNTS}.`)
  await box.spawn('a')
  await box.allLive(nc, ['ada'])
})
