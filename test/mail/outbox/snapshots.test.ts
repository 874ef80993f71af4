/** Ledgers in the object store: whole or not at all. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { ExitError } from '#shared/lifecycle.ts'
import { SNAPSHOT_STREAM } from '#shared/subjects.ts'
import { openJetStream } from '../../../services/mail/outbox/jetstream.ts'
import { Snapshots } from '../../../services/mail/outbox/snapshots.ts'
import { deleteStream } from '../../support/delete-stream.ts'
import { kvBox } from '../kv/support.ts'

async function snapshotBox() {
  const kv = await kvBox()
  const { js, jsm } = await openJetStream(kv.nc)
  const ops = await kv.connect('ops')
  return { ...kv, js, jsm, ops, snapshots: await Snapshots.open(js, jsm, 1) }
}

/** Puts an object and answers its digest, as a pointer has it. */
async function putAt(box: { snapshots: Snapshots }, name: string, bytes: Uint8Array): Promise<string> {
  await box.snapshots.put(name, [bytes])
  return createHash('sha256').update(bytes).digest('base64url')
}

test('what was put comes back byte by byte, in the place of what had its name; what was removed is gone', async () => {
  await using box = await snapshotBox()
  const [small, large] = [randomBytes(24), randomBytes(300_000)]
  const first = await putAt(box, 'ada/1.2-3', small)
  assert.deepEqual(await box.snapshots.get('ada/1.2-3', first), Buffer.from(small))
  const second = await putAt(box, 'ada/1.2-3', large)
  assert.deepEqual(await box.snapshots.get('ada/1.2-3', second), Buffer.from(large), 'several chunks')
  assert.equal(await box.snapshots.get('ada/1.2-3', first), null, 'not the one that was meant')
  const { state } = await box.jsm.streams.info(SNAPSHOT_STREAM, { subjects_filter: '$O.mail_snapshots.C.>' })
  assert.equal(Object.keys(state.subjects ?? {}).length, 1, 'the chunks of the first are gone')
  assert.equal(await box.snapshots.get('grace/1.2-3', second), null)
  await box.snapshots.remove('ada/1.2-3')
  await box.snapshots.remove('ada/1.2-3')
  assert.equal(await box.snapshots.get('ada/1.2-3', second), null)
  const empty = await putAt(box, 'ada/empty', new Uint8Array())
  assert.equal((await box.snapshots.get('ada/empty', empty))?.length, 0)
  await box.snapshots.remove('ada/empty')
  assert.equal((await box.jsm.streams.info(SNAPSHOT_STREAM)).state.messages, 0, 'no trace is left')
})

test("what there is of a user is erased, named by a checkpoint or not; others' and what comes later stay", async () => {
  await using box = await snapshotBox()
  const bytes = randomBytes(200_000)
  for (const name of ['ada/1.2-3', 'ada/1.2-9']) await putAt(box, name, bytes)
  const others = await putAt(box, 'adam/1.2-3', randomBytes(200_000))
  const upTo = (await box.jsm.streams.info(SNAPSHOT_STREAM)).state.last_seq
  const later = await putAt(box, 'ada/4.5-6', randomBytes(24))
  await box.snapshots.eraseAllOf('ada', upTo, AbortSignal.timeout(20_000))
  await box.snapshots.eraseAllOf('ada', upTo, AbortSignal.timeout(20_000))
  const held = [await box.snapshots.get('adam/1.2-3', others), await box.snapshots.get('ada/4.5-6', later)]
  assert.deepEqual(
    held.map((object) => object?.length),
    [200_000, 24],
  )
  const digest = createHash('sha256').update(bytes).digest('base64url')
  assert.equal(await box.snapshots.get('ada/1.2-3', digest), null)
  const files = readdirSync(box.server.dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const isThere = (part: Buffer): boolean =>
    files.some((entry) => readFileSync(join(entry.parentPath, entry.name)).includes(part))
  assert.equal(isThere(Buffer.from(bytes.subarray(1_000, 1_032))), false, 'nor in the files of the server')
})

test('an object that has lost a chunk, or got another one, is no snapshot, and nobody waits for it', async () => {
  await using box = await snapshotBox()
  const ops = await jetstreamManager(box.ops)
  const chunks = async (): Promise<string[]> => {
    const { state } = await ops.streams.info(SNAPSHOT_STREAM, { subjects_filter: '$O.mail_snapshots.C.>' })
    return Object.keys(state.subjects ?? {})
  }
  const lost = await putAt(box, 'ada/lost', randomBytes(200_000))
  for (const filter of await chunks()) await ops.streams.purge(SNAPSHOT_STREAM, { filter, keep: 1 })
  assert.equal(await box.snapshots.get('ada/lost', lost), null)
  const changed = await putAt(box, 'ada/changed', randomBytes(100))
  for (const filter of await chunks()) {
    await ops.streams.purge(SNAPSHOT_STREAM, { filter })
    await jetstream(box.ops).publish(filter, randomBytes(100))
  }
  assert.equal(await box.snapshots.get('ada/changed', changed), null)
})

test('a store that forgets by itself is refused with what to do', async () => {
  await using box = await snapshotBox()
  const ops = await jetstreamManager(box.ops)
  const { config } = await ops.streams.info(SNAPSHOT_STREAM)
  await ops.streams.update(SNAPSHOT_STREAM, { ...config, max_age: 3_600_000_000_000 })
  await assert.rejects(Snapshots.open(box.js, box.jsm, 1), (error) => {
    assert.ok(error instanceof ExitError)
    assert.match(error.message, /mail_snapshots: max_age is 3600000000000, 0 is needed/)
    return true
  })
})

test('an object comes back as its pieces in order, whatever their sizes; one whose pieces end in an error is not there', async () => {
  await using box = await snapshotBox()
  const pieces = [24, 0, 131_072, 200_000, 1, 131_071, 50_000].map((size) => randomBytes(size))
  await box.snapshots.put('ada/pieces', pieces)
  const whole = Buffer.concat(pieces)
  const digest = createHash('sha256').update(whole).digest('base64url')
  assert.deepEqual(await box.snapshots.get('ada/pieces', digest), whole)
  const lost = new Error('the term has ended')
  const ending = async function* (): AsyncGenerator<Uint8Array> {
    yield randomBytes(300_000)
    throw lost
  }
  await assert.rejects(box.snapshots.put('ada/ending', ending()), (error) => error === lost)
  const { state } = await box.jsm.streams.info(SNAPSHOT_STREAM, { subjects_filter: '$O.mail_snapshots.>' })
  assert.equal(
    Object.keys(state.subjects ?? {}).length,
    2,
    'no chunk is left of it: only chunks and record of the first',
  )
})

test('of a large object a few pieces are held, not all: the next is asked for when those before it are stored', async () => {
  await using box = await snapshotBox()
  const stored = async (): Promise<number> => (await box.jsm.streams.info(SNAPSHOT_STREAM)).state.messages
  const ahead: number[] = []
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for (let given = 0; given < 10; given++) {
      ahead.push(given - (await stored()))
      yield randomBytes(131_073)
    }
  }
  await box.snapshots.put('ada/large', counted())
  assert.ok(Math.max(...ahead) <= 2, `${ahead}`)
})

test('a store that is gone is made anew, and said to be another one', async () => {
  await using box = await snapshotBox()
  const before = box.snapshots.createdMs
  await box.snapshots.verify(box.js, 1)
  assert.equal(box.snapshots.createdMs, before)
  await deleteStream(await jetstreamManager(box.ops), SNAPSHOT_STREAM)
  await box.snapshots.verify(box.js, 1)
  assert.notEqual(box.snapshots.createdMs, before)
  const sha256 = await putAt(box, 'ada/new', randomBytes(24))
  assert.equal((await box.snapshots.get('ada/new', sha256))?.length, 24)
})
