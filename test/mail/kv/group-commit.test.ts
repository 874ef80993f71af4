/** Writes of one moment go as one atomic batch where the server knows how, and each has its own answer all the same. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { atLeast, type Msg } from '#shared/nats.ts'
import { BUCKET_STATE, bucketSubject } from '#shared/subjects.ts'
import { RevisionConflict } from '../../../services/mail/kv/account-record.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { GroupCommit } from '../../../services/mail/kv/group-commit.ts'
import { startProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { type KvBox, kvBox } from './support.ts'

const MANY = 150
const keyOf = (i: number): string => `user${i}`

/** Every write of the bucket as the server gets it. */
async function listen(box: KvBox): Promise<Msg[]> {
  const seen: Msg[] = []
  const ops = await box.connect('ops')
  ops.subscribe(bucketSubject(BUCKET_STATE, '>'), { callback: (_error, msg) => void seen.push(msg) })
  await ops.flush()
  return seen
}

const batchOf = (msg: Msg): string => msg.headers?.get('Nats-Batch-Id') ?? ''
const knowsBatches = ({ nc }: KvBox): boolean => atLeast(nc.info?.version ?? '0', '2.12.0')

test('writes of one moment share a batch, and each learns its own revision', async () => {
  await using box = await kvBox()
  const seen = await listen(box)
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const revisions = await Promise.all(Array.from({ length: MANY }, (_, i) => bucket.write(keyOf(i), `${i}`, null)))
  for (const [i, revision] of revisions.entries())
    assert.deepEqual(await bucket.read(keyOf(i)), { value: `${i}`, revision })
  assert.equal(bucket.highest, Math.max(...revisions))
  await until('the listener has all', () => seen.length === MANY)
  const batches = new Set(seen.map(batchOf))
  assert.deepEqual([...batches].includes(''), !knowsBatches(box))
  assert.equal(batches.size, knowsBatches(box) ? 3 : 1, '64, 64 and 22 of 150')
})

test('one that is refused keeps nobody from being written', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const first = await bucket.write('ada', 'one', null)
  const second = await bucket.write('ada', 'two', first)
  await bucket.remove('gone', await bucket.write('gone', 'was here', null))
  const [late, bob, gone, good] = await Promise.allSettled([
    bucket.write('ada', 'late', first),
    bucket.write('bob', 'new', null),
    bucket.write('gone', 'again', null),
    bucket.write('large', 'x'.repeat(100_000), null),
  ])
  assert.ok(late.status === 'rejected' && late.reason instanceof RevisionConflict)
  assert.deepEqual([bob.status, gone.status, good.status], ['fulfilled', 'fulfilled', 'fulfilled'])
  const [ada, one, other] = await Promise.all([bucket.read('ada'), bucket.read('bob'), bucket.read('gone')])
  assert.deepEqual([ada, one?.value, other?.value], [{ value: 'two', revision: second }, 'new', 'again'])
})

test('of two writes of one key in one moment one wins', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const results = await Promise.allSettled(['one', 'two', 'three'].map((value) => bucket.write('ada', value, null)))
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected'],
  )
  assert.equal((await bucket.read('ada'))?.value, 'one')
})

test('a lost answer leaves it open for each of them, and repeats none', async () => {
  await using box = await kvBox()
  const seen = await listen(box)
  await using proxy = await startProxy(box.server.port)
  const [nc, direct] = [await box.connect('mailsync', proxy.port), await Bucket.open(box.nc, BUCKET_STATE)]
  if (!knowsBatches(box)) return
  const group = new GroupCommit(nc, 300)
  proxy.mute('toClient')
  const data = new TextEncoder().encode('x')
  const results = await Promise.allSettled(
    ['ada', 'bob'].map((key) =>
      group.write({ subject: bucketSubject(BUCKET_STATE, key), data, lastSeq: 0 }, () => assert.fail('sent again')),
    ),
  )
  for (const result of results) {
    assert.ok(result.status === 'rejected' && !(result.reason instanceof RevisionConflict))
    assert.doesNotMatch(String(result.reason), /sent again/)
  }
  await until(
    'both are written',
    async () => (await direct.read('ada')) !== null && (await direct.read('bob')) !== null,
  )
  assert.equal(seen.length, 2, 'each was sent once')
})
