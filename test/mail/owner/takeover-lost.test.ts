/** The stream has lost what the checkpoint's positions have passed, and this disk never knew it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stateKey } from '#shared/subjects.ts'
import { setKnownSeq } from '../../../services/mail/store/known.ts'
import { readMeta, setStreamCreated } from '../../../services/mail/store/meta.ts'
import { epoch, rewrite, type TakeoverBox, takeoverBox, USER } from './takeover-box.ts'

const EVENT = '057f1fc2-f325-5ecb-99d8-a3b7c8b7c6a8'

/** Owner a, then owner b, who has published an event at sequence 9 and whose checkpoint says so. */
async function bHasPublished(box: TakeoverBox): Promise<void> {
  const { createdMs } = await box.streamFacts()
  await box.take('a', epoch(1))
  box.diskOf('a').commit(USER, epoch(1), (tx) => setStreamCreated(tx, createdMs))
  box.walk('a', epoch(1), 'a1')
  await box.write('a1')
  await box.take('b', epoch(2))
  await box.write('b9')
  await rewrite(box, () => ({ pub: 9, pubEventId: EVENT, streamCreatedMs: createdMs, firstStreamMs: createdMs }))
}
const holds = (box: TakeoverBox, seq: number): void => {
  box.readBack = async (name, at) => {
    const { createdMs } = await box.streamFacts()
    box.diskOf(name).commit(USER, at, (tx) => {
      setStreamCreated(tx, createdMs)
      setKnownSeq(tx, EVENT, seq)
    })
    return seq
  }
}
const isEmpty = (box: TakeoverBox): void => {
  box.readBack = async (name, at) => {
    const { createdMs } = await box.streamFacts()
    box.diskOf(name).commit(USER, at, (tx) => setStreamCreated(tx, createdMs))
    return 0
  }
}

test('an older disk goes on from its own positions, which have passed nothing that it does not know', async () => {
  await using box = await takeoverBox()
  await bHasPublished(box)
  isEmpty(box)
  assert.equal((await box.take('a', epoch(3))).base, 'stale')
  assert.deepEqual(box.lanes('a'), ['history:a1'])
})

test('it does so too where the event stands at another place: others stood before it', async () => {
  await using box = await takeoverBox()
  await bHasPublished(box)
  holds(box, 8)
  await box.take('a', epoch(3))
  assert.deepEqual(box.lanes('a'), ['history:a1'])
})

test('a new disk walks from the start', async () => {
  await using box = await takeoverBox()
  await bHasPublished(box)
  box.diskOf('a').setAside(USER)
  isEmpty(box)
  assert.equal((await box.take('a', epoch(3))).base, 'stream')
  assert.deepEqual(box.lanes('a'), [], 'no position of the checkpoint')
})

test('with the event on the stream the positions of the checkpoint count', async () => {
  await using box = await takeoverBox()
  await bHasPublished(box)
  holds(box, 9)
  assert.equal((await box.take('a', epoch(3))).base, 'stale')
  assert.deepEqual(box.lanes('a'), ['history:b9'])
})

test('who knows the stream from before such a loss compares all of it; who has been there since does not', async () => {
  await using box = await takeoverBox()
  await bHasPublished(box)
  isEmpty(box)
  await box.take('a', epoch(3))
  await box.take('a', epoch(4))
  await box.take('b', epoch(5))
  assert.deepEqual([isToCompare(box, 'a'), isToCompare(box, 'b')], [false, true])
})

const isToCompare = (box: TakeoverBox, name: 'a' | 'b') => box.diskOf(name).read(USER, readMeta)?.repairing

test('a record that begins anew says so to disks of before it; a first user has none', async () => {
  await using box = await takeoverBox()
  await box.take('a', epoch(1))
  assert.equal(isToCompare(box, 'a'), false)
  const found = await box.checkpoints.read(USER)
  assert.ok(found !== null)
  await box.bucket.remove(stateKey(USER), found.revision)
  await box.take('b', epoch(2))
  await box.take('b', epoch(3))
  await box.take('a', epoch(4))
  assert.deepEqual([isToCompare(box, 'a'), isToCompare(box, 'b')], [true, false])
})

test('after the leases have gone back each disk compares once: others may have published what this one knows elsewhere', async () => {
  await using box = await takeoverBox()
  await box.take('a', epoch(5))
  await box.take('a', epoch(6))
  assert.equal(isToCompare(box, 'a'), false)
  await box.take('a', epoch(2, 2_000))
  assert.equal(isToCompare(box, 'a'), true)
})
