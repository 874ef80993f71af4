import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { connectNats, drainNats } from '#shared/nats.ts'
import { BUCKET_STATE, bucketStream, EVENT_STREAM, inboxPrefix } from '#shared/subjects.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { ensureEventStream } from '../../../services/mail/outbox/stream.ts'
import { startNatsCluster } from '../../support/nats-cluster.ts'
import { kvBox, log } from './support.ts'

const STREAM = { retentionDays: 1, dedupeWindowMs: 60_000, maxBytes: 64 * 1024 ** 2 }

test('copies that a single server cannot keep are refused in one line, and what is there stays as it is', async () => {
  await using box = await kvBox()
  const jsm = await jetstreamManager(box.nc)
  const refusal = (stream: string) => ({
    exitCode: 78,
    message: new RegExp(`^NATS cannot keep 3 copies of ${stream} \\(.*\\): MAIL_NATS_REPLICAS=3 needs a cluster of 3 `),
  })
  for (const make of [false, true]) {
    await assert.rejects(Bucket.open(box.nc, BUCKET_STATE, 3), refusal(bucketStream(BUCKET_STATE)))
    await assert.rejects(ensureEventStream(jsm, { ...STREAM, replicas: 3 }), refusal(EVENT_STREAM))
    if (make) break
    await Bucket.open(box.nc, BUCKET_STATE)
    await ensureEventStream(jsm, STREAM)
  }
  assert.equal((await jsm.streams.info(EVENT_STREAM)).config.num_replicas, 1)
})

test('on a cluster the copies are made at creation, raised where they are fewer, and never lowered', async () => {
  await using cluster = await startNatsCluster()
  const login = { user: 'mailsync', password: cluster.passwords.mailsync, inboxPrefix: inboxPrefix('mailsync') }
  const nc = await connectNats({ url: cluster.url, name: 'test', ...login }, log, AbortSignal.timeout(20_000))
  try {
    const jsm = await jetstreamManager(nc)
    const copies = async (): Promise<number[]> =>
      await Promise.all(
        [bucketStream(BUCKET_STATE), EVENT_STREAM].map(
          async (name) => (await jsm.streams.info(name)).config.num_replicas,
        ),
      )
    const open = async (bucketCopies: number, streamCopies: number): Promise<Bucket> => {
      await ensureEventStream(jsm, { ...STREAM, replicas: streamCopies })
      return await Bucket.open(nc, BUCKET_STATE, bucketCopies)
    }
    const revision = await (await open(1, 3)).write('ada', 'one', null)
    assert.deepEqual(await copies(), [1, 3])
    const raised = await open(3, 3)
    assert.deepEqual(await copies(), [3, 3])
    assert.equal((await raised.read('ada'))?.revision, revision, 'what was stored is still there')
    await open(1, 1)
    assert.deepEqual(await copies(), [3, 3])
  } finally {
    await drainNats(nc, log)
  }
})
