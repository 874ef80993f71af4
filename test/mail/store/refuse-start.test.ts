/** Faults of the folder and of auth.db that an operator has to mend: one line each, exit 78, nothing made on the way. */
import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { AuthStore } from '../../../services/mail/store/auth-store.ts'
import { ensureDir } from '../../../services/mail/store/ensure-dir.ts'
import { lockDataDirectory } from '../../../services/mail/store/instance-lock.ts'
import { EXIT_CONFIG, ExitError } from '../../../shared/lifecycle.ts'

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'mail-sync-refuse-'))
  t.after(() => rmSync(dir, { recursive: true }))
  return dir
}
/** The one line with which the work is refused. */
function refusal(work: () => Disposable): string {
  try {
    work()[Symbol.dispose]()
  } catch (error) {
    assert.ok(error instanceof ExitError, String(error))
    assert.equal(error.exitCode, EXIT_CONFIG)
    assert.doesNotMatch(error.message, /\n/)
    return error.message
  }
  return assert.fail('it was not refused')
}

test('folders are made level by level, closed to others; what is there stays as it is', (t) => {
  const dir = folder(t)
  const there = join(dir, 'there')
  mkdirSync(there)
  chmodSync(there, 0o755)
  symlinkSync(there, join(dir, 'link'))
  ensureDir(join(dir, 'link', 'a', 'b'))
  ensureDir(join(dir, 'link', 'a', 'b'))
  assert.deepEqual(
    [there, join(there, 'a'), join(there, 'a', 'b')].map((path) => statSync(path).mode & 0o777),
    [0o755, 0o700, 0o700],
  )
})

test('a folder that the file system refuses is a fault, and no loop without end', (t) => {
  const dir = folder(t)
  writeFileSync(join(dir, 'file'), '')
  symlinkSync(join(dir, 'nowhere'), join(dir, 'link'))
  assert.throws(() => ensureDir('/proc/x/users'), {
    name: 'DiskError',
    message: /^\/proc(\/x)? cannot be made \(E\w+\)$/,
  })
  assert.throws(() => ensureDir(join(dir, 'file', 'a', 'b')), { name: 'DiskError', message: /file is not a folder$/ })
  assert.throws(() => ensureDir(join(dir, 'link')), { name: 'DiskError', message: /link is not a folder$/ })
  assert.throws(() => ensureDir(join(dir, 'a', 'b'), { parents: false }), { code: 'CANNOT_OPEN' })
  assert.deepEqual(readdirSync(dir).toSorted(), ['file', 'link'])
})

test('MAIL_DATA_DIR: a file, a place where nothing can be made and a damaged lock are named with the remedy', (t) => {
  const dir = folder(t)
  const file = join(dir, 'file')
  writeFileSync(file, '')
  const of = (dataDir: string) => refusal(() => lockDataDirectory(dataDir))
  const place = 'name a folder that this user may write to'
  assert.equal(of(file), `MAIL_DATA_DIR: ${file} is not a folder; ${place}`)
  assert.match(of('/proc/x'), new RegExp(`^MAIL_DATA_DIR: /proc\\S* cannot be made \\(E\\w+\\); ${place}$`))
  writeFileSync(join(dir, 'instance.db'), 'no database at all'.repeat(100))
  assert.match(of(dir), /^MAIL_DATA_DIR: \S+instance\.db is damaged \(SQLITE_NOTADB\); move it away/)
  rmSync(join(dir, 'instance.db'))
  mkdirSync(join(dir, 'instance.pid'))
  assert.match(of(dir), /^MAIL_DATA_DIR: \S+instance\.pid cannot be used \(EISDIR\)/)
})

test('AUTH_DB_PATH: no file, a link, a place where nothing can be made and damage are named with the remedy', (t) => {
  const dir = folder(t)
  const of = (file: string) => refusal(() => new AuthStore(file))
  const link = join(dir, 'link.db')
  symlinkSync(join(dir, 'other.db'), link)
  const itself = 'name the file itself, no folder and no link'
  assert.equal(of(dir), `AUTH_DB_PATH: ${dir} is not a regular file; ${itself}`)
  assert.equal(of(link), `AUTH_DB_PATH: ${link} is not a regular file; ${itself}`)
  assert.match(
    of('/proc/nope.db'),
    /^AUTH_DB_PATH: \/proc\S* cannot be \w+ \(E\w+\); name a file in a folder that exists/,
  )
  const damaged = join(dir, 'auth.db')
  writeFileSync(damaged, 'no database at all'.repeat(100), { mode: 0o600 })
  assert.match(of(damaged), /auth\.db is damaged \(SQLITE_NOTADB\); put a back-up in its place, or move it away/)
})

test('AUTH_DB_PATH: of a path that is not there only the last folder is made', (t) => {
  const dir = folder(t)
  const missing = refusal(() => new AuthStore(join(dir, 'typo', 'keys', 'auth.db')))
  assert.match(missing, /^AUTH_DB_PATH: \S+keys cannot be made \(ENOENT\); name a file in a folder that exists/)
  assert.equal(existsSync(join(dir, 'typo')), false)
  new AuthStore(join(dir, 'keys', 'auth.db'))[Symbol.dispose]()
  assert.equal(statSync(join(dir, 'keys')).mode & 0o777, 0o700)
})

test('AUTH_DB_PATH: damage behind a sound first page is met by the first look at the keys, in the same words', (t) => {
  const file = join(folder(t), 'auth.db')
  const row = {
    account: { userId: 'u1', provider: 'google' as const, inboxId: 'primary' },
    ...{ accessToken: 'h1..a.a.a', refreshToken: `h1..${'r'.repeat(50_000)}`, expiryS: 1, kvRev: 1, kvHash: 'hash' },
    ...{ bucketCreatedMs: 1, dirty: false, mailbox: null, address: null, reauth: null },
  }
  const store = new AuthStore(file)
  store.put(row, 1)
  store[Symbol.dispose]()
  truncateSync(file, statSync(file).size / 2)
  const line = refusal(() => {
    const again = new AuthStore(file)
    t.after(() => again[Symbol.dispose]())
    again.allKids(() => [])
    return again
  })
  assert.match(line, /auth\.db is damaged \(SQLITE_CORRUPT\); put a back-up in its place/)
})

test('a data folder is locked for one holder at a time and keeps its id', (t) => {
  const dataDir = join(folder(t), 'data')
  const first = lockDataDirectory(dataDir)
  assert.equal(first.held, true)
  assert.match(
    refusal(() => lockDataDirectory(dataDir)),
    /is used by pid \d+/,
  )
  first[Symbol.dispose]()
  assert.equal(first.held, false)
  using second = lockDataDirectory(dataDir)
  assert.deepEqual([second.held, second.directoryId], [true, first.directoryId])
})
