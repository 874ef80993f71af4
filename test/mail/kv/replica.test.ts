import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { BUCKET_STATE, bucketStream } from '#shared/subjects.ts'
import { type Clock, systemClock } from '../../../services/mail/base/time.ts'
import { Bucket, type RawEntry } from '../../../services/mail/kv/bucket.ts'
import { type Followed, Replica } from '../../../services/mail/kv/replica.ts'
import { deleteStream } from '../../support/delete-stream.ts'
import { keepCopy } from '../../support/roll-back.ts'
import { until } from '../../support/until.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { kvBox, log } from './support.ts'

type Watched = { replica: Replica<string>; changes: string[]; end(): Promise<void> }

function watch(bucket: () => Followed, clock: Clock = systemClock): Watched {
  const parse = (text: string) => (text === 'garbage' ? null : text)
  const replica = new Replica(parse, clock, log, (_key, entry) => entry)
  const changes: string[] = []
  replica.listen((key, entry) => changes.push(`${key}=${entry?.record ?? null}`))
  const stop = new AbortController()
  const running = replica.run(bucket, stop.signal)
  const end = async (): Promise<void> => {
    stop.abort()
    await running
  }
  return { replica, changes, end }
}
const values = ({ replica }: Watched) =>
  Object.fromEntries([...replica.entries].map(([key, { record }]) => [key, record]))
const answers = (bucket: Bucket) => until('NATS answers', async () => String(await bucket.isWhole()))

test('it is fresh once all that is there has been seen, and then follows', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const revision = await bucket.write('a', '1', null)
  await bucket.write('b', '2', null)
  const watched = watch(() => bucket)
  assert.equal(watched.replica.fresh, false)
  await until('fresh', () => watched.replica.fresh)
  assert.deepEqual(values(watched), { a: '1', b: '2' })
  await bucket.remove('a', revision)
  await until('a is gone', () => !watched.replica.entries.has('a'))
  assert.deepEqual(watched.changes, ['a=1', 'b=2', 'a=null'])
  await watched.end()
  assert.equal(watched.replica.fresh, false)
})

test('the latest revision wins in whatever order news arrive', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const watched = watch(() => bucket)
  await until('fresh', () => watched.replica.fresh)
  const first = await bucket.write('a', 'old', null)
  const second = await bucket.write('a', 'new', first)
  watched.replica.note('a', 'new', second)
  watched.replica.note('a', 'old', first)
  await bucket.write('b', 'end', null)
  await until('the watch has caught up', () => watched.replica.entries.has('b'))
  assert.deepEqual(values(watched), { a: 'new', b: 'end' })
  assert.deepEqual(watched.changes.filter((change) => change.startsWith('a=')).at(-1), 'a=new')
  assert.equal(watched.changes.filter((change) => change === 'a=new').length, 1, 'own news are told once')
  await watched.end()
})

test('what was deleted while nobody watched is forgotten by the next watch', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const revision = await bucket.write('a', '1', null)
  await bucket.write('b', '2', null)
  const watched = watch(() => bucket)
  await until('fresh', () => watched.replica.fresh)
  const jsm = await jetstreamManager(await box.connect('ops'))
  watched.replica.renew()
  assert.equal(watched.replica.fresh, false)
  // Without a marker: only the next whole look can tell.
  await jsm.streams.deleteMessage(bucketStream(BUCKET_STATE), revision)
  await until('fresh again', () => watched.replica.fresh)
  assert.deepEqual(values(watched), { b: '2' })
  await watched.end()
})

test('a value that is no record counts as absent and does not end the watch', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const revision = await bucket.write('a', '1', null)
  const watched = watch(() => bucket)
  await until('fresh', () => watched.replica.fresh)
  await bucket.write('a', 'garbage', revision)
  await until('a is gone', () => !watched.replica.entries.has('a'))
  await bucket.write('b', '2', null)
  await until('b is seen', () => watched.replica.entries.has('b'))
  await watched.end()
})

test('after a bucket was made anew its low revisions count, once the old ones are cleared', async () => {
  await using box = await kvBox()
  let bucket = await Bucket.open(box.nc, BUCKET_STATE)
  let revision = await bucket.write('a', '0', null)
  for (let i = 1; i < 5; i++) revision = await bucket.write('a', `${i}`, revision)
  const watched = watch(() => bucket)
  await until('fresh', () => watched.replica.fresh)
  await deleteStream(await jetstreamManager(await box.connect('ops')), bucketStream(BUCKET_STATE))
  bucket = await Bucket.open(box.nc, BUCKET_STATE)
  watched.replica.clear()
  assert.deepEqual(values(watched), {})
  await bucket.write('a', 'new', null)
  await until('the new value is seen', () => values(watched).a === 'new')
  assert.equal(watched.replica.fresh, true)
  await watched.end()
})

test('what this instance writes while a watch takes stock is never seen as gone', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  await bucket.write('a', '1', null)
  let meanwhile = async (): Promise<void> => undefined
  // The end of the snapshot, and all that follows, reaches the replica after a write of its own has come back.
  const slow: Followed = {
    name: bucket.name,
    lastPresent: (seen) => bucket.lastPresent(seen),
    follow(onEntry, onSnapshot, signal) {
      let told: Promise<void> | null = null
      const deliver = (entry: RawEntry): void => void (told === null ? onEntry(entry) : told.then(() => onEntry(entry)))
      const snapshot = (): void => {
        told = meanwhile().then(onSnapshot)
      }
      return bucket.follow(deliver, snapshot, signal)
    },
  }
  const watched = watch(() => slow)
  await until('fresh', () => watched.replica.fresh)
  meanwhile = async () => watched.replica.note('b', 'mine', await bucket.write('b', 'mine', null))
  watched.replica.renew()
  await until('fresh again', () => watched.replica.fresh)
  assert.deepEqual(values(watched), { a: '1', b: 'mine' })
  assert.equal(watched.changes.includes('b=null'), false)
  await watched.end()
})

test('a snapshot may take long as long as it keeps coming; ten seconds of silence end its watch', async () => {
  const clock = new ManualClock()
  let watches = 0
  const slow: Followed = {
    name: 'large',
    lastPresent: async () => null,
    async follow(onEntry, onSnapshot, signal) {
      watches += 1
      for (let i = 1; i <= 10; i++) {
        await clock.sleep(watches === 1 ? 11_000 : 9_000, signal)
        onEntry({ key: `k${i}`, value: `${i}`, revision: i })
      }
      onSnapshot()
      await clock.sleep(1_000_000, signal)
    },
  }
  const watched = watch(() => slow, clock)
  await clock.advance(10_000)
  await clock.advance(250)
  assert.equal(watches, 2, 'the silent one was given up')
  await clock.advance(100_000)
  assert.deepEqual([watches, watched.replica.fresh, watched.replica.entries.size], [2, true, 10])
  const ended = watched.end()
  await clock.advance(0)
  await ended
  assert.equal(clock.sleeping, 0)
})

test('a bucket that went backwards is believed by the next watch', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const first = await bucket.write('a', 'old', null)
  const goBack = await keepCopy(box.server)
  await answers(bucket)
  await bucket.write('a', 'new', first)
  const gone = await bucket.write('b', 'new', null)
  const watched = watch(() => bucket)
  await until('fresh', () => watched.replica.fresh)
  assert.deepEqual(values(watched), { a: 'new', b: 'new' })
  await goBack()
  await answers(bucket)
  watched.replica.renew()
  await until('fresh again', () => watched.replica.fresh)
  assert.deepEqual(values(watched), { a: 'old' })
  const again = await bucket.write('b', 'again', null)
  assert.ok(again <= gone, 'a revision is given out a second time')
  await until('it is followed', () => values(watched).b === 'again')
  await watched.end()
})

test('a revision that was given out again for something else is believed; what is as it was is not told again', async () => {
  let present: RawEntry[] = []
  const scripted: Followed = {
    name: 'scripted',
    lastPresent: async () => null,
    async follow(onEntry, onSnapshot, signal) {
      for (const entry of present) onEntry(entry)
      onSnapshot()
      await systemClock.sleep(60_000, signal)
    },
  }
  const looks: RawEntry[][] = [
    [
      { key: 'a', value: 'old', revision: 1 },
      { key: 'b', value: 'same', revision: 2 },
      { key: 'c', value: 'old', revision: 3 },
    ],
    [
      { key: 'a', value: 'again', revision: 1 },
      { key: 'b', value: 'same', revision: 2 },
      { key: 'c', value: null, revision: 3 },
    ],
  ]
  const watched = watch(() => scripted)
  for (const look of looks) {
    present = look
    watched.replica.renew()
    await until('fresh', () => watched.replica.fresh)
    watched.replica.note('a', 'mine', 1)
  }
  assert.deepEqual(values(watched), { a: 'again', b: 'same' })
  assert.deepEqual(watched.changes, ['a=old', 'b=same', 'c=old', 'a=again', 'c=null'])
  await watched.end()
})

test('what a watch says of the past counts only if it has said nothing later once it is complete', async () => {
  const [past, present] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let watches = 0
  const lagging: Followed = {
    name: 'lagging',
    lastPresent: async () => null,
    async follow(onEntry, onSnapshot, signal) {
      watches += 1
      if (watches === 1) for (const key of ['a', 'b', 'c']) onEntry({ key, value: 'known', revision: 10 })
      else {
        for (const key of ['a', 'b', 'c']) onEntry({ key, value: 'past', revision: 5 })
        past.resolve()
        await present.promise
        onEntry({ key: 'a', value: 'known', revision: 10 })
        onEntry({ key: 'b', value: 'later', revision: 11 })
      }
      onSnapshot()
      await systemClock.sleep(60_000, signal)
    },
  }
  const watched = watch(() => lagging)
  await until('fresh', () => watched.replica.fresh)
  watched.replica.renew()
  await past.promise
  assert.deepEqual(values(watched), { a: 'known', b: 'known', c: 'known' })
  present.resolve()
  await until('fresh again', () => watched.replica.fresh)
  assert.deepEqual(values(watched), { a: 'known', b: 'later', c: 'past' })
  assert.deepEqual(watched.changes.slice(3), ['b=later', 'c=past'])
  await watched.end()
})

test('a watch that tells nothing of what the bucket has is made anew; a quiet bucket is not', async () => {
  const clock = new ManualClock()
  let [watches, last] = [0, 1]
  const deaf: Followed = {
    name: 'deaf',
    lastPresent: async () => last,
    async follow(onEntry, onSnapshot, signal) {
      watches += 1
      onEntry({ key: 'a', value: `${last}`, revision: last })
      onSnapshot()
      await clock.sleep(1_000_000, signal)
    },
  }
  const watched = watch(() => deaf, clock)
  await clock.advance(60_000)
  assert.equal(watches, 1)
  last = 2
  await clock.advance(3_000)
  assert.deepEqual([watches, values(watched)], [1, { a: '1' }], 'it may still be on its way')
  await clock.advance(3_000)
  await clock.advance(250)
  assert.deepEqual([watches, values(watched)], [2, { a: '2' }])
  await clock.advance(60_000)
  assert.equal(watches, 2)
  const ended = watched.end()
  await clock.advance(0)
  await ended
  assert.equal(clock.sleeping, 0)
})
