/**
 * Faults of the files that the operator named, met at start: one line with the variable, the path and what to do.
 * Users' databases are not opened through it: what is wrong with one of them ends a term, not the process.
 */
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import { CorruptError, DiskError, type DiskFault, onDisk } from './disk-errors.ts'

type Variable = 'MAIL_DATA_DIR' | 'AUTH_DB_PATH'

const PLACE: Record<Variable, string> = {
  MAIL_DATA_DIR: 'name a folder that this user may write to',
  AUTH_DB_PATH: 'name a file in a folder that exists and that this user may write to',
}
const DAMAGED: Record<Variable, string> = {
  MAIL_DATA_DIR: 'move it away; it is made anew and holds nothing but the lock and the id of the folder',
  AUTH_DB_PATH: 'put a back-up in its place, or move it away with its -wal and -shm: the tokens come back from NATS',
}
const REMEDY: Partial<Record<DiskFault, string>> = {
  DISK_FULL: 'make room on that disk',
  IO: 'look after that disk',
  NOT_A_FILE: 'name the file itself, no folder and no link',
  NEWER_SCHEMA: 'start that version',
}

/** Runs `work` on the file. @throws ExitError 78 for every fault of disk or file. */
export function refuseStart<T>(variable: Variable, file: string, work: () => T): T {
  try {
    return onDisk(file, work)
  } catch (cause) {
    if (!(cause instanceof DiskError || cause instanceof CorruptError)) throw cause
    const remedy = cause instanceof CorruptError ? DAMAGED[variable] : (REMEDY[cause.code] ?? PLACE[variable])
    throw new ExitError(EXIT_CONFIG, `${variable}: ${cause.message}; ${remedy}`, { cause })
  }
}
