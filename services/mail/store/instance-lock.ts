/**
 * One process per data directory: an exclusive SQLite lock on `instance.db`, held for life and freed by the kernel when
 * the process ends, however it ends. The file also keeps the id of the directory.
 */
import { randomUUID } from 'node:crypto'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import { onDisk } from './disk-errors.ts'
import { ensureDir } from './ensure-dir.ts'
import { refuseStart } from './refuse-start.ts'

/** Tells people who holds the lock; the lock itself is the database's. */
const PID_FILE = 'instance.pid'

export type InstanceLock = Disposable & {
  /** Stable id of the directory. */
  directoryId: string
  /** True until it is given back. */
  readonly held: boolean
}

/** @throws ExitError 78 when another process uses the directory, or when nothing can be kept in it. */
export function lockDataDirectory(dataDir: string): InstanceLock {
  const file = join(dataDir, 'instance.db')
  return refuseStart('MAIL_DATA_DIR', file, () => {
    ensureDir(dataDir)
    return lock(dataDir, file)
  })
}

function lock(dataDir: string, file: string): InstanceLock {
  const db = new Database(file, { timeout: 0 })
  try {
    db.pragma('locking_mode = EXCLUSIVE')
    db.exec('BEGIN EXCLUSIVE; CREATE TABLE IF NOT EXISTS directory (id TEXT NOT NULL); COMMIT')
    const found = db.prepare<[], { id: string }>('SELECT id FROM directory').get()
    const directoryId = found?.id ?? randomUUID()
    if (found === undefined) db.prepare('INSERT INTO directory (id) VALUES (?)').run(directoryId)
    chmodSync(file, 0o600)
    const pidFile = join(dataDir, PID_FILE)
    onDisk(pidFile, () => writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 }))
    return {
      directoryId,
      get held() {
        return db.open
      },
      [Symbol.dispose]: () => void db.close(),
    }
  } catch (error) {
    db.close()
    if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY'))
      throw new ExitError(
        EXIT_CONFIG,
        `${dataDir} is used by pid ${pidOf(dataDir)}; give this instance its own MAIL_DATA_DIR`,
        { cause: error },
      )
    throw error
  }
}

function pidOf(dataDir: string): string {
  try {
    return readFileSync(join(dataDir, PID_FILE), 'utf8').trim()
  } catch {
    return '(unknown)'
  }
}
