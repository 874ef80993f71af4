import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstreamManager, StorageType } from '@nats-io/jetstream'
import type { NatsConnection } from '#shared/nats.ts'
import { BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE, bucketStream } from '#shared/subjects.ts'
import { RevisionConflict } from '../../../services/mail/kv/account-record.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { Buckets, type Noticed } from '../../../services/mail/kv/buckets.ts'
import { deleteStream } from '../../support/delete-stream.ts'
import { startProxy } from '../../support/proxy.ts'
import { keepCopy } from '../../support/roll-back.ts'
import { until } from '../../support/until.ts'
import { kvBox } from './support.ts'

const openBuckets = (nc: NatsConnection): Promise<Buckets> => Buckets.open((name) => Bucket.open(nc, name))

/** After a restart of the server each connection comes back in its own time. */
const answering = (all: Buckets[]) =>
  until('NATS answers', async () =>
    (await Promise.allSettled(all.map((buckets) => buckets.get('state').read('a')))).every(
      ({ status }) => status === 'fulfilled',
    ),
  )

test('a key is written only at the revision that was seen', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const first = await bucket.write('ada', 'one', null)
  await assert.rejects(bucket.write('ada', 'again', null), RevisionConflict)
  const second = await bucket.write('ada', 'two', first)
  await assert.rejects(bucket.write('ada', 'late', first), RevisionConflict)
  await assert.rejects(bucket.remove('ada', first), RevisionConflict)
  assert.deepEqual(await bucket.read('ada'), { value: 'two', revision: second })
  await bucket.remove('ada', second)
  assert.equal(await bucket.read('ada'), null)
  assert.equal(await bucket.read('nobody'), null)
  assert.ok((await bucket.write('ada', 'three', null)) > second, 'a removed key can be made again')
})

test('of twenty writers at one revision one wins', async () => {
  await using box = await kvBox()
  const other = await Bucket.open(await box.connect(), BUCKET_STATE)
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const base = await bucket.write('ada', 'base', null)
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? bucket : other).write('ada', `${i}`, base)),
  )
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const result of results) if (result.status === 'rejected') assert.ok(result.reason instanceof RevisionConflict)
})

test('a lost answer to a write is a fault that leaves it open, not a conflict', async () => {
  await using box = await kvBox()
  await using proxy = await startProxy(box.server.port)
  const bucket = await Bucket.open(await box.connect('mailsync', proxy.port), BUCKET_STATE)
  const base = await bucket.write('ada', 'one', null)
  proxy.mute('toClient')
  await assert.rejects(bucket.write('ada', 'two', base, 200), (error) => !(error instanceof RevisionConflict))
  const direct = await Bucket.open(box.nc, BUCKET_STATE)
  assert.equal((await direct.read('ada'))?.value, 'two', 'it was written all the same')
})

test('a bucket whose settings lose data is refused, naming the field', async () => {
  await using box = await kvBox()
  const jsm = await jetstreamManager(await box.connect('ops'))
  const subjects = [`$KV.${BUCKET_STATE}.>`]
  const wrong = [
    ['storage', { storage: StorageType.Memory }],
    ['max_age', { max_age: 60_000_000_000 }],
    ['history', { max_msgs_per_subject: 5 }],
  ] as const
  for (const [field, config] of wrong) {
    const name = bucketStream(BUCKET_STATE)
    await jsm.streams.add({ name, subjects, max_msgs_per_subject: 1, allow_rollup_hdrs: true, ...config })
    await assert.rejects(Bucket.open(box.nc, BUCKET_STATE), (error: Error & { exitCode?: number }) => {
      assert.equal(error.exitCode, 78)
      assert.match(error.message, new RegExp(`^bucket ${BUCKET_STATE}: ${field} is .* is needed`))
      return true
    })
    await deleteStream(jsm, name)
  }
})

test('a bucket that was deleted and made again is told from the old one', async () => {
  await using box = await kvBox()
  const jsm = await jetstreamManager(await box.connect('ops'))
  const bucket = await Bucket.open(box.nc, BUCKET_LEASES)
  await bucket.write('a', '1', null)
  assert.equal(await bucket.isWhole(), true)
  await deleteStream(jsm, bucketStream(BUCKET_LEASES))
  assert.equal(await bucket.isWhole(), false)
  const again = await Bucket.open(box.nc, BUCKET_LEASES)
  assert.ok(again.createdMs > bucket.createdMs)
  assert.deepEqual([await bucket.isWhole(), await again.isWhole()], [false, true])
})

test('a bucket that has fewer revisions than were written, read or followed went backwards; others are whole', async () => {
  await using box = await kvBox()
  const [writing, reading, following, blind] = await Promise.all(
    Array.from({ length: 4 }, async () => openBuckets(await box.connect())),
  )
  assert.ok(writing && reading && following && blind)
  const all = [writing, reading, following, blind]
  const revision = await writing.get('accounts').write('a', '1', null)
  const goBack = await keepCopy(box.server)
  await answering(all)
  await writing.get('accounts').write('a', '2', revision)
  await reading.get('accounts').read('a')
  const stop = new AbortController()
  const entry = (): void => stop.abort()
  await following.get('accounts').follow(entry, () => undefined, stop.signal)
  const told: string[] = []
  const look = (): Promise<PromiseSettledResult<void>[]> =>
    Promise.allSettled(
      all.map((buckets, i) => buckets.verify((name, renewal) => async () => void told.push(`${i} ${name} ${renewal}`))),
    )
  await look()
  assert.deepEqual(told, [])
  await goBack()
  await answering(all)
  assert.deepEqual(
    (await look()).map(({ status }) => status),
    ['rejected', 'rejected', 'rejected', 'fulfilled'],
    'it may be a leader that was deposed and does not know it: one look does not tell',
  )
  assert.deepEqual(told, [])
  await look()
  await look()
  assert.deepEqual(told.toSorted(), [
    '0 accounts went backwards',
    '1 accounts went backwards',
    '2 accounts went backwards',
  ])
})

test('a bucket that seemed to have gone backwards and has not is left as it is', async () => {
  await using box = await kvBox()
  const buckets = await openBuckets(box.nc)
  const told: string[] = []
  const look = (): Promise<void> => buckets.verify((name, renewal) => async () => void told.push(`${name} ${renewal}`))
  const goBack = await keepCopy(box.server)
  await answering([buckets])
  await buckets.get('leases').write('a', '1', null)
  await buckets.get('accounts').write('a', '1', null)
  const goOn = await keepCopy(box.server, 'later')
  await goBack()
  await answering([buckets])
  await assert.rejects(look(), /^Error: mail_leases, mail_accounts: fewer revisions than were seen/)
  await goOn()
  await answering([buckets])
  await look()
  await look()
  assert.deepEqual(told, [])
})

test('what is to be done about a new bucket is told once, and done again until that has succeeded', async () => {
  await using box = await kvBox()
  const jsm = await jetstreamManager(await box.connect('ops'))
  const buckets = await openBuckets(box.nc)
  const told: string[] = []
  const note: Noticed = (name, renewal) => async () => void told.push(`${name} ${renewal}`)
  let tries = 0
  await buckets.verify(note)
  assert.equal(told.length, 0)
  await deleteStream(jsm, bucketStream(BUCKET_ACCOUNTS))
  await assert.rejects(
    buckets.verify((name, renewal) => {
      told.push(`${name} ${renewal}`)
      return async () => {
        tries += 1
        if (tries === 1) throw new Error('KV does not answer')
      }
    }),
    /does not answer/,
  )
  for (let i = 0; i < 2; i++) await buckets.verify(note)
  assert.deepEqual([told, tries], [['accounts lost'], 2])
})

test('a bucket found new counts even when the look at the next one fails', async () => {
  await using box = await kvBox()
  const jsm = await jetstreamManager(await box.connect('ops'))
  const buckets = await openBuckets(box.nc)
  const told: string[] = []
  const note: Noticed = (name, renewal) => async () => void told.push(`${name} ${renewal}`)
  for (const name of [BUCKET_LEASES, BUCKET_ACCOUNTS]) await deleteStream(jsm, bucketStream(name))
  const name = bucketStream(BUCKET_ACCOUNTS)
  await jsm.streams.add({ name, subjects: [`$KV.${BUCKET_ACCOUNTS}.>`], storage: StorageType.Memory })
  await assert.rejects(buckets.verify(note), /storage/)
  await deleteStream(jsm, name)
  await buckets.verify(note)
  assert.deepEqual(told, ['leases lost', 'accounts lost'])
})

test('following gives what is there, says when that was all, then every change, until it is stopped', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const stop = new AbortController()
  const seen: string[] = []
  const following = bucket.follow(
    ({ key, value }) => seen.push(`${key}=${value}`),
    () => seen.push('all'),
    stop.signal,
  )
  await until('an empty bucket is complete', () => seen.includes('all'))
  const revision = await bucket.write('a', '1', null)
  await bucket.remove('a', revision)
  await bucket.write('b', '\ufeff2', null)
  await until('three changes', () => seen.length === 4)
  stop.abort()
  await following
  assert.deepEqual(seen, ['all', 'a=1', 'a=null', 'b=\ufeff2'])
  await assert.rejects(
    bucket.follow(
      () => assert.fail(),
      () => assert.fail(),
      stop.signal,
    ),
  )
})

test('whoever follows no more leaves nothing on the server, however it ended', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const jsm = await jetstreamManager(await box.connect('ops'))
  const readers = async (): Promise<string[]> => {
    const found: string[] = []
    for await (const { name } of jsm.consumers.list(bucketStream(BUCKET_STATE))) found.push(name)
    return found
  }
  const follow = async (nc = box.nc) => {
    const stop = new AbortController()
    const begun = Promise.withResolvers<void>()
    const ended = (nc === box.nc ? bucket : await Bucket.open(nc, BUCKET_STATE)).follow(
      () => undefined,
      begun.resolve,
      stop.signal,
    )
    await begun.promise
    return { ended, stop }
  }
  const orderly = await follow()
  assert.equal((await readers()).length, 1)
  orderly.stop.abort()
  await orderly.ended
  await until('a reader that was stopped is gone', async () => (await readers()).length === 0)

  const gone = await box.connect()
  const killed = await follow(gone)
  assert.equal((await readers()).length, 1)
  await gone.close()
  await killed.ended
  // It would wait for whom it belongs to, and a server that restarts waits anew: thousands would wait before they are gone.
  await box.server.stop('SIGKILL')
  await box.server.start()
  await until('NATS is back', async () => (await readers().catch(() => null)) !== null)
  assert.deepEqual(await readers(), [])
})
