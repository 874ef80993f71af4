import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats } from '#shared/nats.ts'
import { startNatsCluster } from './nats-cluster.ts'
import { natsServerPath } from './nats-server.ts'
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

test('a node that comes back without its disk gets everything from the others', async () => {
  await using cluster = await startNatsCluster()
  await using clients = new AsyncDisposableStack()
  const [first, second, third] = cluster.nodes
  assert.ok(first !== undefined && second !== undefined && third !== undefined)
  const login = { user: 'ops', password: cluster.passwords.ops, inboxPrefix: '_INBOX_ops', name: 'test' }
  const nc = await connectNats({ url: cluster.url, ...login }, log, AbortSignal.timeout(20_000))
  clients.defer(() => drainNats(nc, log))
  const [js, jsm] = [jetstream(nc), await jetstreamManager(nc, { timeout: 1_000 })]
  await jsm.streams.add({ name: 'KEPT', subjects: ['kept'], num_replicas: 3 })
  // A publish finds nobody while the other nodes have not heard yet who leads the stream; the id makes each count once.
  for (let i = 0; i < 100; i++)
    await until('the stream takes it', () => js.publish('kept', `${i}`, { msgID: `${i}` }), { timeoutMs: 40_000 })

  await third.wipe()
  await third.start()
  await third.healthy()
  // Without one of those that always had everything, the two that are left need what the third was given.
  await first.stop('SIGKILL')
  const kept = await until('the stream answers', () => jsm.streams.info('KEPT'), { timeoutMs: 40_000 })
  assert.equal(kept.state.messages, 100)
  await until('it takes more', () => js.publish('kept', 'more'), { timeoutMs: 40_000 })
})

test('the block that the document gives each server of a cluster is one that nats-server takes', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-conf-'))
  t.after(() => rm(dir, { recursive: true }))
  const root = join(import.meta.dirname, '../..')
  const block = /```conf\n(.*?)```/s.exec(await readFile(join(root, 'docs/cluster.md'), 'utf8'))?.[1]
  assert.ok(block !== undefined)
  const conf = (await readFile(join(root, 'nats.conf'), 'utf8')).replace(/^server_name:.*$/m, '')
  await writeFile(join(dir, 'nats.conf'), conf + block)
  const passwords = [...conf.matchAll(/\$(NATS_\w+_PASSWORD)/g)].map(([, name]) => [name, 'p1'])
  const { stderr } = await promisify(execFile)(await natsServerPath(), ['-t', '-c', join(dir, 'nats.conf')], {
    env: Object.fromEntries(passwords),
  })
  assert.match(stderr, /configuration file \S+ is valid/)
})
