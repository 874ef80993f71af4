/** A bucket that three servers keep: a watch that is served by one that lags behind, or that dies. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pass } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { connectNats, drainNats } from '#shared/nats.ts'
import { BUCKET_STATE, bucketStream, inboxPrefix } from '#shared/subjects.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { Replica } from '../../../services/mail/kv/replica.ts'
import { startNatsCluster } from '../../support/nats-cluster.ts'
import { until } from '../../support/until.ts'
import { log } from './support.ts'

const KEYS = 100
const WRITES = 2_000
const WATCHES = 8
/** How long a server that came back is watched while it catches up. */
const WATCHED_MS = 4_000

/** Writes the keys one after the other, by compare-and-set, also while a leader is elected. */
async function writeAround(bucket: Bucket): Promise<void> {
  const revisions = new Map<string, number>()
  for (let i = 0; i < WRITES; i++) {
    const key = `k${i % KEYS}`
    await until(`${key} is written`, async () => {
      try {
        revisions.set(key, await bucket.write(key, 'x'.repeat(2_000), revisions.get(key) ?? null))
      } catch (error) {
        const found = await bucket.read(key)
        if (found !== null) revisions.set(key, found.revision)
        throw error
      }
      return true
    })
  }
}

/** The highest revision that a watch has told of when it says that this was all. */
async function highestOfLook(bucket: Bucket): Promise<number> {
  const stop = new AbortController()
  let [highest, complete] = [0, false]
  await bucket.follow(
    ({ revision }) => {
      highest = Math.max(highest, revision)
    },
    () => {
      complete = true
      stop.abort()
    },
    AbortSignal.any([stop.signal, AbortSignal.timeout(8_000)]),
  )
  return complete ? highest : Number.POSITIVE_INFINITY
}

test('a watch whose server dies is made anew within seconds', async () => {
  await using cluster = await startNatsCluster()
  const [first, ...others] = cluster.nodes
  assert.ok(first !== undefined)
  const login = { user: 'ops', password: cluster.passwords.ops, inboxPrefix: inboxPrefix('ops') }
  const nc = await connectNats({ url: first.url, name: 'test', ...login }, log, AbortSignal.timeout(20_000))
  const stop = new AbortController()
  try {
    const jsm = await jetstreamManager(nc)
    const bucket = await Bucket.open(nc, BUCKET_STATE, 3)
    const replica = new Replica<string>(
      (text) => text,
      systemClock,
      log,
      (_key, entry) => entry,
    )
    const running = replica.run(() => bucket, stop.signal)
    const serving = await until('the watch is served by one that this client is not connected to', async () => {
      await replica.whenFresh(AbortSignal.timeout(5_000))
      let newest = { created: '', leader: '' }
      for await (const { created, cluster: group } of jsm.consumers.list(bucketStream(BUCKET_STATE)))
        if (created > newest.created) newest = { created, leader: group?.leader ?? '' }
      const node = others.find((_, i) => `n${i + 2}` === newest.leader)
      if (node === undefined) replica.renew()
      return node
    })
    await serving.stop('SIGKILL')
    const sinceMs = performance.now()
    await until('it is written', () => bucket.write('a', 'new', null))
    const writtenMs = performance.now()
    await until('it is seen', () => replica.entries.get('a')?.record === 'new', { timeoutMs: 90_000 })
    const seenAfterMs = performance.now() - writtenMs
    assert.ok(seenAfterMs < 20_000, `seen after ${seenAfterMs} ms, written after ${writtenMs - sinceMs} ms`)
    stop.abort()
    await running
  } finally {
    stop.abort()
    await drainNats(nc, log)
  }
})

test('a watch is complete only when it has told what the leader had, also on a server that lags behind', async () => {
  await using cluster = await startNatsCluster()
  const [first, , third] = cluster.nodes
  assert.ok(first !== undefined && third !== undefined)
  const login = { user: 'ops', password: cluster.passwords.ops, inboxPrefix: inboxPrefix('ops') }
  const nc = await connectNats({ url: first.url, name: 'test', ...login }, log, AbortSignal.timeout(20_000))
  try {
    const jsm = await jetstreamManager(nc)
    const bucket = await Bucket.open(nc, BUCKET_STATE, 3)
    await writeAround(bucket)
    await third.stop('SIGKILL')
    await writeAround(bucket)
    await third.start()
    const stale: string[] = []
    for (const endMs = performance.now() + WATCHED_MS; performance.now() < endMs; await pass(50)) {
      const leader = (await jsm.streams.info(bucketStream(BUCKET_STATE))).state.last_seq
      const looks = await Promise.all(Array.from({ length: WATCHES }, () => highestOfLook(bucket)))
      stale.push(...looks.filter((highest) => highest < leader).map((highest) => `${highest} of ${leader}`))
    }
    assert.deepEqual(stale, [])
  } finally {
    await drainNats(nc, log)
  }
})
