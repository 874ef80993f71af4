/**
 * The ONE place where a database is opened: file checks, modes, pragmas, migrations, errors in our words.
 * It knows no table; it never repairs, renames or deletes a file.
 */
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import { DiskError, onDisk } from './disk-errors.ts'
import { ensureDir } from './ensure-dir.ts'
import { type Drizzle, migrate, queryBuilder } from './query-builder.ts'

export { CorruptError, DiskError, onDisk } from './disk-errors.ts'
export type { Drizzle } from './query-builder.ts'

export type DatabaseKind = 'user' | 'auth'
export type Database = {
  readonly file: string
  /** The driver: for transactions and pragmas. */
  readonly sqlite: SqliteDatabase.Database
  /** The query builder on the same connection, made at its first use. */
  readonly db: Drizzle
  /** Writes the WAL back and closes; may be called twice. */
  close(): void
}

/** A transaction that waits longer for a foreign lock (a backup, a shell) fails; everything else stands still meanwhile. */
const BUSY_TIMEOUT_MS = 1_000
const FILE_MODE = 0o600
/**
 * Pages that SQLite keeps of an open database. `auth.db` is read as a whole at each start, and then by single rows: half a kilobyte
 * of each account would stay in memory. Of users 256 may be open; what is not here is in the system's own cache (ADR 0044).
 */
const CACHE_KIB = { user: 4_000, auth: 512 } as const
const MIGRATIONS = join(import.meta.dirname, '../../../migrations')

/**
 * Opens a database, creating and migrating it as needed.
 * @throws CorruptError when the file is no database or damaged.
 * @throws DiskError when the disk refuses, the file is no regular file, or a newer version of this program made it.
 * @throws ExitError 78 when other users of the machine may read `auth.db`.
 */
export function openDatabase(options: {
  file: string
  kind: DatabaseKind
  /** NORMAL may lose the last commits at a power cut; FULL never. */
  synchronous: 'NORMAL' | 'FULL'
  /** SQLite copies a log of so many pages into the file, in the middle of a commit; 1,000 unless given. */
  walPages?: number
}): Database {
  const { file, kind, synchronous, walPages = 1_000 } = options
  // A migration that is missing is no fault of the file.
  migrationCount(kind)
  return onDisk(file, () => {
    const isNew = prepareFile(file, kind)
    const sqlite = new SqliteDatabase(file, { timeout: BUSY_TIMEOUT_MS, fileMustExist: true })
    try {
      sqlite.pragma('journal_mode = WAL')
      if (isNew) beginWal(sqlite)
      sqlite.pragma(`synchronous = ${synchronous}`)
      sqlite.pragma(`wal_autocheckpoint = ${walPages}`)
      sqlite.pragma('foreign_keys = ON')
      sqlite.pragma('trusted_schema = OFF')
      // What is deleted is overwritten. The file of a user is deleted as a whole.
      if (kind === 'auth') sqlite.pragma('secure_delete = ON')
      sqlite.pragma(`cache_size = -${CACHE_KIB[kind]}`)
      let made: Drizzle | undefined
      const database = {
        file,
        sqlite,
        get db() {
          made ??= queryBuilder(sqlite)
          return made
        },
        close: () => void sqlite.close(),
      }
      migrateOnce(database, kind)
      return database
    } catch (error) {
      sqlite.close()
      throw error
    }
  })
}

/** The status of a path itself, links not followed; null when there is nothing. */
const statusOf = (path: string): Stats | null => lstatSync(path, { throwIfNoEntry: false }) ?? null

/**
 * The first write to a WAL waits for the disk, to protect what an older WAL at this place has held. There is none here:
 * a new WAL that a power cut takes leaves an empty database, which passes for a lost one.
 */
function beginWal(sqlite: SqliteDatabase.Database): void {
  sqlite.pragma('synchronous = OFF')
  sqlite.pragma(`user_version = ${migrationCount('user')}`)
}

/**
 * After this there is a regular file of mode 0600 in a folder that others cannot read (if we made it). True when it was
 * made from the template.
 */
function prepareFile(file: string, kind: DatabaseKind): boolean {
  // The folder of auth.db is the operator's; those of users are ours, and a link would lead to another user's or out of all.
  if (kind === 'user') for (const folder of [dirname(dirname(file)), dirname(file)]) refuseLink(folder)
  // Of a path that a person wrote only the last folder is made: the rest may be a typing error.
  ensureDir(dirname(file), { parents: kind === 'user' })
  for (const path of [file, `${file}-wal`, `${file}-shm`]) {
    const status = statusOf(path)
    if (status !== null && !status.isFile()) throw new DiskError('NOT_A_FILE', `${path} is not a regular file`)
  }
  const status = statusOf(file)
  if (status === null) return createFile(file, kind)
  if (kind === 'auth' && process.platform !== 'win32' && (status.mode & 0o077) !== 0)
    throw new ExitError(EXIT_CONFIG, `${file} can be read by others: it holds tokens; run "chmod 600" on it`)
  return false
}

function refuseLink(folder: string): void {
  if (statusOf(folder)?.isSymbolicLink() === true)
    throw new DiskError('NOT_A_FILE', `${folder} is a link and no folder`)
}

/** True when the file is a copy of the template; otherwise it is empty. */
function createFile(file: string, kind: DatabaseKind): boolean {
  // A WAL without its database would be replayed into the template; SQLite drops it when the database is empty.
  if (kind === 'user' && statusOf(`${file}-wal`) === null) {
    // Renamed into place, because half a template would be a damaged database.
    const draft = `${file}.new`
    rmSync(draft, { force: true })
    writeFileSync(draft, userTemplate(), { mode: FILE_MODE, flag: 'wx' })
    renameSync(draft, file)
    return true
  }
  closeSync(openSync(file, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, FILE_MODE))
  return false
}

/** Where a database says that it has a WAL, and what it says. */
const FORMAT_AT = 18
const FORMAT_WAL = [2, 2]

let template: Buffer | undefined
/** An empty migrated database as bytes: copying it is four times quicker than its DDL. */
function userTemplate(): Buffer {
  if (template !== undefined) return template
  const sqlite = new SqliteDatabase(':memory:')
  try {
    migrateOnce({ sqlite, db: queryBuilder(sqlite), file: ':memory:' }, 'user')
    template = sqlite.serialize()
    // Turning each copy into one with a WAL would wait for the disk.
    template.set(FORMAT_WAL, FORMAT_AT)
    return template
  } finally {
    sqlite.close()
  }
}

/** Applies what is missing; nothing is read when `user_version` says that nothing is. */
function migrateOnce(database: Omit<Database, 'close'>, kind: DatabaseKind): void {
  const { sqlite, file } = database
  const wanted = migrationCount(kind)
  const found = Number(sqlite.pragma('user_version', { simple: true }))
  if (found === wanted) return
  if (found > wanted)
    throw new DiskError(
      'NEWER_SCHEMA',
      `${file} was made by a newer version: schema ${found}, this one knows ${wanted}`,
    )
  // One of the migrations changes the schema in a way that SQLite refuses unless it is told not to.
  sqlite.unsafeMode(true)
  try {
    migrate(database.db, join(MIGRATIONS, kind))
  } finally {
    sqlite.unsafeMode(false)
  }
  sqlite.pragma(`user_version = ${wanted}`)
  // Before the second migration what was deleted stayed in free pages.
  if (kind === 'auth' && found > 0) sqlite.exec('VACUUM')
}

const counts = new Map<DatabaseKind, number>()
function migrationCount(kind: DatabaseKind): number {
  const known = counts.get(kind)
  if (known !== undefined) return known
  const journal: { entries: unknown[] } = JSON.parse(readFileSync(join(MIGRATIONS, kind, 'meta/_journal.json'), 'utf8'))
  counts.set(kind, journal.entries.length)
  return journal.entries.length
}
