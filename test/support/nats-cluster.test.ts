import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats } from '#shared/nats.ts'
import { startNatsCluster } from './nats-cluster.ts'
import { until } from './until.ts'

const log = createLog('test', 'silent')

test('a cluster keeps a replicated stream while its nodes are killed one after the other', async () => {
  await using cluster = await startNatsCluster()
  assert.equal(cluster.url.split(',').length, 3)
  await using clients = new AsyncDisposableStack()
  const login = { user: 'ops', password: cluster.passwords.ops, inboxPrefix: '_INBOX_ops', name: 'test' }
  const nc = await connectNats({ url: cluster.url, ...login }, log, AbortSignal.timeout(20_000))
  clients.defer(() => drainNats(nc, log))
  const [js, jsm] = [jetstream(nc, { timeout: 1_000 }), await jetstreamManager(nc, { timeout: 1_000 })]
  await jsm.streams.add({ name: 'KEPT', subjects: ['kept'], num_replicas: 3 })

  const killed: string[] = []
  cluster.keepKilling(3_000, 500, (name) => killed.push(name))
  const stored: number[] = []
  await until(
    'each node was killed, and each time something was stored after it',
    async () => {
      const deaths = killed.length
      const { seq } = await js.publish('kept', `${deaths}`)
      stored.push(seq)
      return deaths > 3
    },
    { timeoutMs: 90_000 },
  )
  await cluster.endKilling()
  const kept = await until('the stream answers', () => jsm.streams.info('KEPT'))
  assert.ok(kept.state.messages >= stored.length)
  assert.equal(kept.cluster?.replicas?.length, 2)
})
