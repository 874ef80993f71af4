/**
 * Accepted when: on a cluster of three with replicated stream and buckets, of which one node is killed every ten seconds,
 * while instances are killed too: nothing lost, nothing twice, nothing stuck.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pass } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE, bucketStream, EVENT_STREAM } from '#shared/subjects.ts'
import { dice, SEED, settled } from '../mail/acceptance/support.ts'
import type { InstanceProcess } from '../support/instance.ts'
import { startNatsCluster } from '../support/nats-cluster.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { until } from '../support/until.ts'

const NODE_EVERY_MS = 10_000
const NODE_DOWN_MS = 3_000
const INSTANCE_EVERY_MS = 25_000
const RUN_MS = 120_000
const MAIL_EVERY_MS = 1_000
const NAMES = ['a', 'b', 'c'] as const
const USERS = {
  ada: 'google',
  alan: 'google',
  barbara: 'google',
  edsger: 'microsoft',
  grace: 'microsoft',
  tony: 'microsoft',
} as const
const users = Object.keys(USERS) as (keyof typeof USERS)[]

/** New mail and changes for everybody, until `endMs`; an instance is killed now and then, and started again. */
async function live(box: Sandbox, instances: Map<string, InstanceProcess>, endMs: number): Promise<string[]> {
  const throwOf = dice(SEED)
  const killed: string[] = []
  let nextKillMs = performance.now() + INSTANCE_EVERY_MS
  for (; performance.now() < endMs; await pass(MAIL_EVERY_MS)) {
    const user = users[throwOf(0, users.length - 1)] ?? 'ada'
    box.sim.mutate({ type: 'deliver', user: box.simUser(user), provider: USERS[user] })
    if (performance.now() < nextKillMs) continue
    nextKillMs = performance.now() + INSTANCE_EVERY_MS
    const name = NAMES[killed.length % NAMES.length] ?? 'a'
    killed.push(name)
    await instances.get(name)?.kill('SIGKILL')
    instances.set(name, await box.spawn(name))
  }
  return killed
}

test('a node of three killed every ten seconds, and instances too: nothing lost, nothing twice, nothing stuck', async (t) => {
  await using cluster = await startNatsCluster()
  await using box = await sandbox({ nats: cluster, simulator: { pageSizeGraph: 20, seed: SEED } })
  const instances = new Map<string, InstanceProcess>()
  for (const name of NAMES) instances.set(name, await box.spawn(name))
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const nodes: string[] = []
  cluster.keepKilling(NODE_EVERY_MS, NODE_DOWN_MS, (name) => nodes.push(name))
  const endMs = performance.now() + RUN_MS
  for (const user of users) await box.connect(nc, user, USERS[user], { n: 1_500 })
  const killed = await live(box, instances, endMs)
  await cluster.endKilling()

  const about = `${nodes.length} nodes and ${killed.length} instances killed`
  await settled(box, nc, users, about)
  t.diagnostic(`${about}; ${(await box.ledger(ops)).line}`)
  assert.ok(nodes.length >= 10 && killed.length >= 3, about)
  const jsm = await jetstreamManager(ops)
  for (const stream of [EVENT_STREAM, ...[BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE].map(bucketStream)]) {
    const { config, cluster: group } = await until(`${stream} answers`, () => jsm.streams.info(stream))
    assert.deepEqual([config.num_replicas, group?.replicas?.length], [3, 2], stream)
  }
  const told = [...instances.values()].flatMap(({ lines }) => lines.filter((line) => /is not what it was/.test(line)))
  assert.deepEqual(told, [], 'no bucket is taken for one that went backwards')
})
