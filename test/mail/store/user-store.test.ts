import assert from 'node:assert/strict'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import SqliteDatabase from 'better-sqlite3'
import { countStored, storeNew } from '../../../services/mail/store/messages.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import { CorruptError, DiskError, openDatabase } from '../../../services/mail/store/sqlite.ts'
import { StaleEpochError } from '../../../services/mail/store/user-store.ts'
import { ACCOUNT, EPOCH, mails, storeBox } from './support.ts'

const NEWER = { era: EPOCH.era, rev: EPOCH.rev + 1 }

test('a term that was overtaken can write nothing, a recreated lease bucket counts as newer', async () => {
  await using box = storeBox()
  const { store } = box
  assert.deepEqual(store.adopt('ada', EPOCH), { previous: null, fresh: true })
  assert.deepEqual(store.adopt('ada', NEWER), { previous: EPOCH, fresh: false })
  const write = (epoch: typeof EPOCH) => () =>
    store.commit('ada', epoch, (tx) => storeNew(tx, ACCOUNT, mails('m', 1), 5_000))
  assert.throws(write(EPOCH), StaleEpochError)
  assert.throws(() => store.adopt('ada', EPOCH), StaleEpochError)
  assert.equal(
    store.read('ada', (db) => countStored(db, ACCOUNT)),
    0,
  )
  write(NEWER)()
  const recreated = { era: EPOCH.era + 1, rev: 1 }
  assert.deepEqual(store.adopt('ada', recreated).previous, NEWER)
  assert.throws(write(NEWER), StaleEpochError)
})

test('a term that never adopted the user cannot write, even when it is newer', async () => {
  await using box = storeBox()
  box.store.adopt('ada', EPOCH)
  assert.throws(() => box.store.commit('ada', NEWER, () => 1), StaleEpochError)
})

test('a transaction that throws leaves nothing behind', async () => {
  await using box = storeBox()
  box.store.adopt('ada', EPOCH)
  assert.throws(
    () =>
      box.store.commit('ada', EPOCH, (tx) => {
        storeNew(tx, ACCOUNT, mails('m', 3), 5_000)
        throw new Error('half way')
      }),
    /half way/,
  )
  assert.equal(
    box.store.read('ada', (db) => countStored(db, ACCOUNT)),
    0,
  )
})

test('each opening of a database and each transaction that wrote is told, and nothing else', async () => {
  await using box = storeBox()
  const { store } = box
  const told = { opened: 0, committed: 0 }
  store.onOpened = () => told.opened++
  store.onCommitted = () => told.committed++
  store.adopt('ada', EPOCH)
  assert.deepEqual(told, { opened: 1, committed: 1 })
  store.commit('ada', EPOCH, (tx) => storeNew(tx, ACCOUNT, mails('m', 1), 5_000))
  assert.deepEqual(told, { opened: 1, committed: 2 })
  store.read('ada', (db) => countStored(db, ACCOUNT))
  assert.throws(() => store.commit('ada', NEWER, () => 1), StaleEpochError)
  assert.deepEqual(told, { opened: 1, committed: 2 }, 'neither a look nor a refused write')
  store.release('ada')
  store.read('ada', (db) => countStored(db, ACCOUNT))
  assert.deepEqual(told, { opened: 2, committed: 2 })
})

test('looking at a user without a file makes none', async () => {
  await using box = storeBox()
  assert.equal(box.store.inspect('ada'), 'absent')
  assert.throws(() => box.store.read('ada', readMeta), DiskError)
  assert.throws(() => box.store.commit('ada', EPOCH, () => 1), DiskError)
  assert.equal(existsSync(dirname(box.store.fileOf('ada'))), false)
})

test('files have mode 0600 and folders 0700 whatever the umask', async () => {
  const before = process.umask(0)
  try {
    await using box = storeBox()
    box.store.adopt('../a.b', EPOCH)
    const file = box.store.fileOf('../a.b')
    assert.equal(file, join(box.dataDir, 'users/=2E=2E=2Fa=2Eb/events.db'))
    for (const name of readdirSync(dirname(file)))
      assert.equal(statSync(join(dirname(file), name)).mode & 0o777, 0o600, name)
    assert.equal(statSync(dirname(file)).mode & 0o777, 0o700)
    assert.equal(statSync(join(box.dataDir, 'users')).mode & 0o777, 0o700)
  } finally {
    process.umask(before)
  }
})

test('a symbolic link in place of the database or its WAL is refused', async () => {
  await using box = storeBox()
  for (const suffix of ['', '-wal']) {
    const file = box.store.fileOf(`user${suffix}`)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(join(box.dataDir, 'elsewhere'), '')
    symlinkSync(join(box.dataDir, 'elsewhere'), file + suffix)
    assert.throws(() => box.store.adopt(`user${suffix}`, EPOCH), { name: 'DiskError', code: 'NOT_A_FILE' })
    assert.equal(statSync(join(box.dataDir, 'elsewhere')).size, 0)
  }
})

test("another user's file is refused and left alone", async () => {
  await using box = storeBox()
  const { store } = box
  store.adopt('ada', EPOCH)
  store.adopt('eve', EPOCH)
  store.release('ada')
  store.release('eve')
  copyFileSync(store.fileOf('ada'), store.fileOf('eve'))
  const foreign = { name: 'DiskError', code: 'FOREIGN' }
  assert.throws(() => store.inspect('eve'), foreign)
  assert.throws(() => store.adopt('eve', EPOCH), foreign)
  assert.throws(() => store.read('eve', readMeta), foreign)
  assert.equal(store.inspect('ada'), 'usable')
})

test('a zero-length file is empty, not a user without mail', async () => {
  await using box = storeBox()
  const { store } = box
  store.adopt('ada', EPOCH)
  store.commit('ada', EPOCH, (tx) => storeNew(tx, ACCOUNT, mails('m', 2), 5_000))
  store.release('ada')
  assert.equal(store.inspect('ada'), 'usable')
  store.release('ada')
  truncateSync(store.fileOf('ada'))
  assert.equal(store.inspect('ada'), 'empty')
  assert.deepEqual(store.adopt('ada', EPOCH), { previous: null, fresh: true })
  assert.equal(store.inspect('ada'), 'usable')
})

test('a damaged file is reported, set aside whole and rebuilt; nothing is deleted', async () => {
  await using box = storeBox()
  const { store } = box
  store.adopt('ada', EPOCH)
  store.release('ada')
  const garbage = 'this is no database '.repeat(1_000)
  writeFileSync(store.fileOf('ada'), garbage)
  assert.equal(store.inspect('ada'), 'corrupt')
  assert.throws(() => store.adopt('ada', EPOCH), CorruptError)
  const aside = store.setAside('ada')
  assert.match(aside ?? '', /events\.db\.corrupt-\d+$/)
  assert.equal(statSync(aside ?? '').size, garbage.length)
  assert.equal(store.inspect('ada'), 'absent')
  assert.equal(store.setAside('ada'), null)
  assert.deepEqual(store.adopt('ada', EPOCH), { previous: null, fresh: true })
  assert.notEqual(store.setAside('ada'), aside)
  assert.equal(statSync(aside ?? '').size, garbage.length, 'the first one is still what it was')
})

test('damage inside the file shows as CorruptError at the read that meets it', async () => {
  await using box = storeBox()
  const { store } = box
  store.adopt('ada', EPOCH)
  store.commit('ada', EPOCH, (tx) => storeNew(tx, ACCOUNT, mails('m', 500), 5_000))
  store.release('ada')
  const size = statSync(store.fileOf('ada')).size
  truncateSync(store.fileOf('ada'), 4096 * Math.floor(size / 4096 / 2))
  assert.throws(() => store.read('ada', (db) => countStored(db, ACCOUNT)), CorruptError)
})

test('migrations are applied once and skipped when user_version says so; a newer schema is refused', async () => {
  await using box = storeBox()
  const file = join(box.dataDir, 'x.db')
  openDatabase({ file, kind: 'user', synchronous: 'NORMAL' }).close()
  const raw = new SqliteDatabase(file)
  const version = Number(raw.pragma('user_version', { simple: true }))
  assert.ok(version >= 1)
  // With its bookkeeping gone a second run would fail on the first CREATE TABLE.
  raw.exec('DROP TABLE __drizzle_migrations')
  raw.close()
  openDatabase({ file, kind: 'user', synchronous: 'NORMAL' }).close()
  const again = new SqliteDatabase(file)
  again.pragma('user_version = 0')
  again.close()
  assert.throws(() => openDatabase({ file, kind: 'user', synchronous: 'NORMAL' }), /CREATE TABLE/)
  const newer = new SqliteDatabase(file)
  newer.pragma(`user_version = ${version + 1}`)
  newer.close()
  assert.throws(() => openDatabase({ file, kind: 'user', synchronous: 'NORMAL' }), { code: 'NEWER_SCHEMA' })
})

test('a user file is in WAL mode and has the same schema whether it was copied or migrated in place', async () => {
  await using box = storeBox()
  const schemaOf = (file: string): unknown[] => {
    const database = openDatabase({ file, kind: 'user', synchronous: 'NORMAL' })
    try {
      assert.equal(database.sqlite.pragma('journal_mode', { simple: true }), 'wal')
      return database.sqlite.prepare('SELECT name, sql FROM sqlite_schema ORDER BY name').all()
    } finally {
      database.close()
    }
  }
  writeFileSync(join(box.dataDir, 'empty.db'), '')
  assert.deepEqual(schemaOf(join(box.dataDir, 'copied.db')), schemaOf(join(box.dataDir, 'empty.db')))
})

test('no more handles are open than allowed, and a closed one opens again', async () => {
  await using box = storeBox()
  const { UserStore } = await import('../../../services/mail/store/user-store.ts')
  const { createLog } = await import('#shared/log.ts')
  await using store = new UserStore({ dataDir: box.dataDir, log: createLog('test', 'silent'), maxHandles: 2 })
  const users = ['a', 'b', 'c', 'd']
  for (const user of users) store.adopt(user, EPOCH)
  const open = users.filter((user) => existsSync(`${store.fileOf(user)}-wal`))
  assert.deepEqual(open, ['c', 'd'])
  for (const user of users)
    assert.equal(
      store.read(user, (db) => readMeta(db)?.userId),
      user,
    )
})
