/** Erasing a user's database: nothing of it is left on the disk, nothing of others is touched. */
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { countStored, storeNew } from '../../../services/mail/store/messages.ts'
import { ACCOUNT, EPOCH, mails, storeBox } from './support.ts'

const LATER = { era: EPOCH.era, rev: EPOCH.rev + 1 }
const CANARY = 'canary-in-a-subject'

/** Files below `dir` that have the canary in them. */
function found(dir: string): string[] {
  return readdirSync(dir).flatMap((name) => {
    const path = join(dir, name)
    if (statSync(path).isDirectory()) return found(path)
    return readFileSync(path).includes(CANARY) ? [path] : []
  })
}

function stored(store: ReturnType<typeof storeBox>['store'], userId: string, epoch = EPOCH): void {
  store.adopt(userId, epoch)
  const some = mails('m', 3).map((message) => ({ ...message, subject: CANARY }))
  store.commit(userId, epoch, (tx) => storeNew(tx, { ...ACCOUNT, userId }, some, 5_000))
}

test('what is erased is gone from the disk, set aside or not; others stay', async () => {
  await using box = storeBox()
  const { store } = box
  stored(store, 'ada')
  store.setAside('ada')
  stored(store, 'ada')
  stored(store, 'grace')
  const dir = dirname(store.fileOf('ada'))
  const users = dirname(dir)
  assert.ok(found(dir).length >= 2, 'the canary is there first')
  assert.equal(store.erase('ada', EPOCH), true)
  assert.equal(existsSync(dir), false)
  assert.deepEqual(new Set(found(users).map((path) => dirname(path))), new Set([dirname(store.fileOf('grace'))]))
  assert.equal(store.erase('ada', EPOCH), true, 'erasing again does nothing')
  assert.equal(
    store.read('grace', (db) => countStored(db, { ...ACCOUNT, userId: 'grace' })),
    3,
  )
})

test('a database of a later term is of a user who has connected again, and stays', async () => {
  await using box = storeBox()
  stored(box.store, 'ada', LATER)
  assert.equal(box.store.erase('ada', EPOCH), false)
  assert.equal(
    box.store.read('ada', (db) => countStored(db, ACCOUNT)),
    3,
  )
  assert.equal(box.store.erase('ada', LATER), true)
})

test('what a crash has left of an erased database goes with the next call; a link out of the folder is not followed', async () => {
  await using box = storeBox()
  const { store } = box
  stored(store, 'ada')
  store.release('ada')
  const file = store.fileOf('ada')
  writeFileSync(`${file}-wal`, CANARY)
  unlinkSync(file)
  const outside = join(dirname(dirname(dirname(file))), 'outside')
  mkdirSync(outside)
  writeFileSync(join(outside, 'kept'), 'kept')
  symlinkSync(outside, join(dirname(file), 'link'))
  assert.equal(store.erase('ada', EPOCH), true)
  assert.equal(existsSync(dirname(file)), false)
  assert.deepEqual(readdirSync(outside), ['kept'])
})
