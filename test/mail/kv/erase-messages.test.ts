/** What is overwritten is erased, and never what a server that went back has put in its place. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { ACCOUNTS_HISTORY, BUCKET_ACCOUNTS, bucketStream, bucketSubject } from '#shared/subjects.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { eraseOverwritten } from '../../../services/mail/kv/erase-messages.ts'
import { until } from '../../support/until.ts'
import { kvBox } from './support.ts'

const STREAM = bucketStream(BUCKET_ACCOUNTS)
const subjectOf = (key: string): string => bucketSubject(BUCKET_ACCOUNTS, key)

test('of a value that was overwritten nothing is kept; the present one stays', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_ACCOUNTS)
  let revision: number | null = null
  for (const value of ['1', '2', '3']) revision = await bucket.write('ada', value, revision)
  const jsm = await jetstreamManager(box.nc)
  await until('one is left', async () => (await jsm.streams.info(STREAM)).state.messages === 1)
  assert.deepEqual(await bucket.read('ada'), { value: '3', revision })
})

test('what stands at the sequence by now is left alone: another key, the newest value, what another server has', async () => {
  await using box = await kvBox()
  const ops = await box.connect('ops')
  const jsm = await jetstreamManager(ops)
  const kv = await new Kvm(jetstream(ops)).create(BUCKET_ACCOUNTS, { history: ACCOUNTS_HISTORY })
  const [old, other, newest] = [await kv.put('ada', '1'), await kv.put('eve', '2'), await kv.put('ada', '3')]
  const left = async (): Promise<number> => (await jsm.streams.info(STREAM)).state.messages
  const erase = (seq: number, connection = () => 'one') =>
    eraseOverwritten(jsm, STREAM, { subject: subjectOf('ada'), seq }, connection)
  await erase(other)
  await erase(newest)
  await erase(newest + 1)
  let reads = 0
  await erase(old, () => `${reads++}`)
  assert.equal(await left(), 3)
  await erase(old)
  assert.equal(await left(), 2)
  await erase(old)
  const [ada, eve] = [await kv.get('ada'), await kv.get('eve')]
  assert.deepEqual([ada?.revision, eve?.revision], [newest, other])
})
