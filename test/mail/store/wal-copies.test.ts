/** The logs of databases, copied by a thread beside the transactions. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { pino } from 'pino'
import { createLog } from '#shared/log.ts'
import { countStored, storeNew } from '../../../services/mail/store/messages.ts'
import { CorruptError } from '../../../services/mail/store/sqlite.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import { WAL_PAGES_MAX, WalCopies } from '../../../services/mail/store/wal-copies.ts'
import { until } from '../../support/until.ts'
import { ACCOUNT, EPOCH, mail } from './support.ts'

const USER = ACCOUNT.userId
const log = createLog('test', process.env.TEST_LOG ?? 'silent')
/** A page of the log and its header, bytes. */
const FRAME = 4_096 + 24
const NEWER = { era: EPOCH.era, rev: EPOCH.rev + 1 }

/** A store whose logs a thread copies; the folder is removed at the end. */
function box(copies = new WalCopies(log)) {
  const dataDir = mkdtempSync(join(tmpdir(), 'mail-sync-store-'))
  const store = new UserStore({ dataDir, log, copies })
  store.adopt(USER, EPOCH)
  let written = 0
  return {
    store,
    copies,
    file: store.fileOf(USER),
    /** Pages that the log has taken at most. */
    walPages: () => statSync(`${store.fileOf(USER)}-wal`).size / FRAME,
    /** Some pages for each mail. */
    write(mails: number, epoch = EPOCH) {
      const some = Array.from({ length: mails }, () => mail(`m${written++}`, { snippet: 'x'.repeat(6_000) }))
      store.commit(USER, epoch, (tx) => storeNew(tx, ACCOUNT, some, 5_000))
    },
    stored: () => store.read(USER, (db) => countStored(db, ACCOUNT)),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      rmSync(dataDir, { recursive: true })
    },
  }
}

test('a log is copied beside the transactions, and begins anew for whoever waits for its turn', async () => {
  await using it = box()
  const before = statSync(it.file).size
  for (let i = 0; i < 60; i++) {
    await it.store.turn(USER)
    it.write(25)
  }
  await it.store.turn(USER)
  assert.ok(statSync(it.file).size > before + 60 * 25 * 12_000 * 0.6, 'the file has grown')
  assert.ok(it.walPages() < 2_500, `the log has ${it.walPages()} pages`)
  assert.equal(it.stored(), 60 * 25)
})

test('control: a log that is written to during each copy grows', async () => {
  await using it = box()
  for (let i = 0; i < 150; i++) it.write(25)
  assert.ok(it.walPages() > 2_500, `the log has ${it.walPages()} pages`)
})

/** A thread that cannot be had. */
class Missing extends WalCopies {
  override wrote(): void {
    // Copies nothing.
  }
}

test('without the thread SQLite copies a log itself, when it is larger', async () => {
  await using it = box(new Missing(log))
  for (let i = 0; i < 150; i++) it.write(25)
  assert.ok(it.walPages() > 2_500, `the log has ${it.walPages()} pages`)
  // Beside a copy it may grow further: two do not copy at the same time.
  assert.ok(it.walPages() < WAL_PAGES_MAX + 500, `the log has ${it.walPages()} pages`)
})

/** How often this process has a file open. */
function timesOpen(file: string): number {
  const path = realpathSync(file)
  return readdirSync('/proc/self/fd').filter((fd) => targetOf(fd) === path).length
}
function targetOf(fd: string): string | null {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch (error) {
    // Closed since it was listed.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  }
}

/** Leaves a copy under way that takes long enough to be met by what comes next. */
async function beginCopy(it: ReturnType<typeof box>): Promise<void> {
  // The first copy starts the thread; what is answered late would keep the next one from beginning.
  const before = statSync(it.file).size
  it.write(300)
  await until('the first copy is over', () => statSync(it.file).size > before && !it.copies.isCopying(it.file))
  for (let i = 0; i < 3; i++) await it.store.turn(USER)
  it.write(1_000)
  const by = performance.now() + 5_000
  // Ours and that of the copy.
  while (timesOpen(`${it.file}-wal`) < 2) assert.ok(performance.now() < by, 'the copy has not begun')
  assert.equal(it.copies.isCopying(it.file), true)
}
const STORED = 1_300

test('a database that is closed during a copy is closed last by us, and whole', async () => {
  await using it = box()
  await beginCopy(it)
  it.store.release(USER)
  assert.equal(existsSync(`${it.file}-wal`), false)
  assert.equal(it.stored(), STORED)
})

class Hasty extends WalCopies {
  override end(): void {
    // Waits for nothing.
  }
}

test('control: without waiting for the copy it is the copy that closes the database last', async () => {
  await using it = box(new Hasty(log))
  await beginCopy(it)
  it.store.release(USER)
  assert.equal(existsSync(`${it.file}-wal`), true)
})

test('a database that a copy has open is not erased', async () => {
  await using it = box(new Hasty(log))
  await beginCopy(it)
  assert.throws(() => it.store.erase(USER, EPOCH), { name: 'DiskError', code: 'IO' })
  await it.store.turn(USER)
  await until('the copy is over', () => !it.copies.isCopying(it.file))
  assert.equal(it.stored(), STORED)
  assert.equal(it.store.erase(USER, EPOCH), true)
})

test('a damaged database that a copy has open passes for damaged until it is set aside', async () => {
  await using it = box(new Hasty(log))
  await beginCopy(it)
  const damage = new CorruptError(it.file, 'damaged')
  it.store.setAsideIfDamaged(USER, damage)
  assert.deepEqual([it.store.inspect(USER), existsSync(it.file)], ['corrupt', true])
  await until('the copy is over', () => !it.copies.isCopying(it.file))
  assert.notEqual(it.store.setAside(USER), null)
  assert.equal(it.store.inspect(USER), 'absent')
})

test('a user who is erased during a copy and connects again has a whole database', async () => {
  await using it = box()
  await beginCopy(it)
  assert.equal(it.store.erase(USER, EPOCH), true)
  it.store.adopt(USER, NEWER)
  it.write(3, NEWER)
  await it.store.turn(USER)
  it.store.release(USER)
  assert.equal(it.stored(), 3)
})

test('a copy that cannot be made is told, and nobody waits for it', async () => {
  const told: unknown[] = []
  const lines = new Writable({ write: (line, _encoding, done) => done(void told.push(JSON.parse(String(line)))) })
  await using copies = new WalCopies(pino({}, lines))
  const file = join(tmpdir(), 'mail-sync-no-such-folder', 'events.db')
  copies.wrote(file, () => 1_000)
  await copies.ready(file)
  await until('it is told', () => told.length === 1)
  assert.partialDeepStrictEqual(told, [{ file, msg: 'a write-ahead log could not be copied by the thread' }])
})

test('what has not begun is cancelled', async () => {
  await using copies = new WalCopies(log)
  copies.wrote('/nowhere/a.db', () => 1_000)
  copies.end('/nowhere/a.db')
  assert.equal(copies.isCopying('/nowhere/a.db'), false)
  await copies.ready('/nowhere/a.db')
})

test('what goes wrong when a log is looked at is no fault of the transaction', async () => {
  await using copies = new WalCopies(log)
  copies.wrote('/nowhere/a.db', () => {
    throw new Error('no memory')
  })
  await copies.ready('/nowhere/a.db')
})

test('a log that could not be copied is tried again when it has grown as much again', async () => {
  const told: unknown[] = []
  const lines = new Writable({ write: (line, _encoding, done) => done(void told.push(JSON.parse(String(line)))) })
  await using copies = new WalCopies(pino({}, lines))
  const file = join(tmpdir(), 'mail-sync-no-such-folder', 'events.db')
  const wrote = async (pages: number): Promise<void> => {
    copies.wrote(file, () => pages)
    await copies.ready(file)
  }
  await wrote(1_000)
  await until('it is told', () => told.length === 1)
  for (let pages = 1_001; pages < 2_000; pages += 100) await wrote(pages)
  assert.equal(told.length, 1)
  await wrote(2_000)
  await until('it is told again', () => told.length === 2)
})
