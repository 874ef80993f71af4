/** One user id, one token: for hundreds of thousands of them, on a real server and a real disk, and on a disk with traps. */
import assert from 'node:assert/strict'
import {
  cpSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve, sep } from 'node:path'
import { test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { AppError } from '#shared/errors.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats } from '#shared/nats.ts'
import { BUCKET_STATE, EVENT_STREAM, EVENT_STREAM_SUBJECT, eventSubject, stateKey } from '#shared/subjects.ts'
import { decodeUser, encodeUser } from '#shared/user-token.ts'
import { readMeta } from '../../services/mail/store/meta.ts'
import { UserStore } from '../../services/mail/store/user-store.ts'
import { EPOCH, storeBox } from '../mail/store/support.ts'
import { mix } from '../simulator/random.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { amount } from './amount.ts'
import { neighbour, randomId } from './random-ids.ts'

const PAIRS = amount(50_000, 200_000, 1_000_000)
const LIVE = amount(300, 2_000, 2_000)
const log = createLog('test', 'silent')
const SEED = 20_261_129

/** The token, or null for an id that is refused. */
function tokenOf(id: string, encode = encodeUser): string | null {
  try {
    return encode(id)
  } catch (error) {
    if (error instanceof AppError && error.code === 'BAD_USER_ID') return null
    throw error
  }
}

type Encoding = { encode(id: string): string; decode(token: string): string }

/** @throws at two ids that share a token, at one that does not come back, at a token that is no folder */
function lookAtPairs({ encode, decode }: Encoding): { different: number; refused: number } {
  const base = resolve('base', 'users')
  const ids = new Map<string, string>()
  let refused = 0
  const look = (id: string): string | null => {
    const token = tokenOf(id, encode)
    if (token === null) {
      refused++
      return null
    }
    if (decode(token) !== id) assert.fail(`${JSON.stringify(id)} does not come back from ${token}`)
    if ((ids.get(token) ?? id) !== id)
      assert.fail(`${JSON.stringify(id)} shares ${token} with ${JSON.stringify(ids.get(token))}`)
    ids.set(token, id)
    if (dirname(join(base, token)) !== base || !/^[\w=-]{1,180}$/.test(token))
      assert.fail(`${token} is no folder of ${base}`)
    return token
  }
  for (let i = 0; i < PAIRS; i++) {
    const one = randomId(SEED, i)
    const other = neighbour(one, mix(SEED, i))
    const [a, b] = [look(one), look(other)]
    if (a !== null && b !== null && (a === b) !== (one === other))
      assert.fail(`${JSON.stringify([one, other])} → ${a}, ${b}`)
  }
  return { different: ids.size, refused }
}

test('no two user ids share a token, every id comes back from its own, and no path leaves its folder', (t) => {
  const { different, refused } = lookAtPairs({ encode: encodeUser, decode: decodeUser })
  assert.ok(refused < PAIRS / 10)
  t.diagnostic(`${PAIRS} pairs, ${different} different ids, ${refused} refused`)
})

/** Encodings as others have them, and what is wrong with each. */
const CARELESS: Record<string, [encode: (id: string) => string, wrong: RegExp]> = {
  'what is not plain becomes _': [(id) => encodeUser(id.replace(/[^\w-]/g, '_')), /shares/],
  'upper case becomes lower case': [(id) => encodeUser(id.toLowerCase()), /shares/],
  'Unicode is normalised': [(id) => encodeUser(id.normalize('NFD')), /shares/],
  'the end is cut off': [(id) => encodeUser(id.slice(0, 12)), /shares/],
  'the bytes, without what tells them from text': [(id) => encodeUser(id).replaceAll('=', ''), /shares/],
  'the end of a C string': [(id) => encodeUser(id.replace(/\0.*$/s, '') || '0'), /shares/],
  'percent, as in an address': [(id) => encodeURIComponent(id.toWellFormed()), /is no folder/],
  nothing: [(id) => id, /is no folder/],
}

test('control: an encoding that is careless is found to let ids share a token, or to lead out of the folder', () => {
  for (const [name, [encode, wrong]] of Object.entries(CARELESS)) {
    let last = ''
    // It remembers, so that it seems reversible.
    const remembering = (id: string): string => {
      last = id
      return encode(id)
    }
    assert.throws(() => lookAtPairs({ encode: remembering, decode: () => last }), wrong, name)
  }
  assert.throws(() => lookAtPairs({ encode: encodeUser, decode: (token) => token }), /does not come back/)
})

/** Different also on a disk that does not tell upper from lower case. */
function liveIds(): string[] {
  const ids = new Map<string, string>()
  for (let i = 0; ids.size < LIVE; i++) {
    const id = randomId(SEED + 1, i)
    const token = tokenOf(id)
    if (token !== null && !ids.has(token.toLowerCase())) ids.set(token.toLowerCase(), id)
  }
  return [...ids.values()]
}

test('user ids come back from a subject of a stream, a key of a bucket and a folder on the disk', async (t) => {
  const ids = liveIds()
  // Without nats.conf, which waits for the disk at each write.
  await using server = await startNatsServer({ conf: 'open' })
  await using box = storeBox()
  const options = { url: server.url, name: 'test', inboxPrefix: '_INBOX' }
  const ops = await connectNats(options, log, AbortSignal.timeout(20_000))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => drainNats(ops, log))
  const jsm = await jetstreamManager(ops)
  await jsm.streams.add({ name: EVENT_STREAM, subjects: [EVENT_STREAM_SUBJECT] })
  const bucket = await new Kvm(ops).create(BUCKET_STATE)
  const js = jetstream(ops)
  const folder = (id: string): string => dirname(box.store.fileOf(id))
  const write = async (id: string): Promise<void> => {
    await js.publish(eventSubject(id), Buffer.from(id))
    await bucket.put(stateKey(id), Buffer.from(id))
    mkdirSync(folder(id), { recursive: true })
    writeFileSync(join(folder(id), 'id'), id)
  }
  await inParts(ids, write)
  const read = async (id: string): Promise<void> => {
    const bytes = Buffer.from(id)
    const event = await jsm.streams.getMessage(EVENT_STREAM, { last_by_subj: eventSubject(id) })
    assert.ok(event !== null && bytes.equals(event.data), id)
    assert.equal(decodeUser(event.subject.split('.')[1] ?? ''), id)
    const entry = await bucket.get(stateKey(id))
    assert.ok(entry !== null && bytes.equals(entry.value), id)
    assert.equal(decodeUser(entry.key), id)
    assert.ok(bytes.equals(readFileSync(join(folder(id), 'id'))), id)
  }
  await inParts(ids, read)
  const users = join(box.dataDir, 'users')
  assert.deepEqual(readdirSync(users).map(decodeUser).toSorted(), ids.toSorted())
  assert.deepEqual(readdirSync(box.dataDir), ['users'])
  assert.equal((await jsm.streams.info(EVENT_STREAM, { subjects_filter: '>' })).state.num_subjects, LIVE)
  t.diagnostic(`${LIVE} ids through subject, key and folder`)
})

async function inParts(ids: readonly string[], work: (id: string) => Promise<void>): Promise<void> {
  for (let at = 0; at < ids.length; at += 200) await Promise.all(ids.slice(at, at + 200).map(work))
}

/** A store in which `ada` has a database, closed. */
function withAda(box: ReturnType<typeof storeBox>): void {
  box.store.adopt('ada', EPOCH)
  box.store.release('ada')
}

test('a database, or the folder of a user, that is a link is refused, and what it leads to stays as it was', async () => {
  for (const part of ['folder', 'file', 'wal', 'shm'] as const) {
    await using box = storeBox()
    withAda(box)
    const file = box.store.fileOf('eve')
    const target = box.store.fileOf('ada')
    const before = readFileSync(target)
    if (part === 'folder') symlinkSync(dirname(target), dirname(file))
    else {
      mkdirSync(dirname(file))
      symlinkSync(target, part === 'file' ? file : `${file}-${part}`)
    }
    const refusal = { name: 'DiskError', code: 'NOT_A_FILE' }
    assert.throws(() => box.store.adopt('eve', EPOCH), refusal, part)
    assert.ok(before.equals(readFileSync(target)), part)
  }
})

test('a link that leads out of the data folder is refused, also to nowhere, also in place of the folder of all users', async () => {
  for (const place of ['users', 'users/eve'])
    for (const target of ['there', 'nowhere']) {
      await using box = storeBox()
      const outside = join(box.dataDir, 'outside')
      mkdirSync(join(outside, 'there'), { recursive: true })
      mkdirSync(dirname(join(box.dataDir, place)), { recursive: true })
      symlinkSync(join(outside, target), join(box.dataDir, place))
      assert.throws(
        () => box.store.adopt('eve', EPOCH),
        { name: 'DiskError', code: 'NOT_A_FILE' },
        `${place}, ${target}`,
      )
      assert.deepEqual(readdirSync(outside, { recursive: true }), ['there'])
    }
})

test('the database of another user is refused, copied or moved, whatever the folder is called', async () => {
  for (const move of [cpSync, renameSync]) {
    await using box = storeBox()
    withAda(box)
    mkdirSync(dirname(box.store.fileOf('eve')))
    move(box.store.fileOf('ada'), box.store.fileOf('eve'))
    const foreign = { name: 'DiskError', code: 'FOREIGN' }
    assert.throws(() => box.store.read('eve', readMeta), foreign)
    assert.throws(() => box.store.adopt('eve', EPOCH), foreign)
    assert.throws(() => box.store.inspect('eve'), foreign)
  }
})

test('a data folder that is a link itself is the operator’s business: its users are stored where it leads', async () => {
  await using box = storeBox()
  const real = join(box.dataDir, 'real')
  mkdirSync(real)
  symlinkSync(real, join(box.dataDir, 'link'))
  const store = new UserStore({ dataDir: join(box.dataDir, 'link'), log })
  store.adopt('ada', EPOCH)
  await store[Symbol.asyncDispose]()
  assert.ok(lstatSync([real, 'users', 'ada', 'events.db'].join(sep)).isFile())
})
