/**
 * What can be wrong with a database file, in three words the callers act on: disk, corrupt, newer.
 * It translates SQLite and file system codes; it never decides what to do about them.
 */

export type DiskFault = 'DISK_FULL' | 'READ_ONLY' | 'CANNOT_OPEN' | 'IO' | 'NOT_A_FILE' | 'NEWER_SCHEMA' | 'FOREIGN'

/** The disk or the file refuses; the data is not known to be damaged. DISK_FULL heals by itself once there is room. */
export class DiskError extends Error {
  override readonly name = 'DiskError'
  readonly code: DiskFault
  constructor(code: DiskFault, message: string, options: { cause?: unknown } = {}) {
    super(message, options)
    this.code = code
  }
}

/** The file is no usable database. A user's is to be set aside and rebuilt, never deleted. */
export class CorruptError extends Error {
  override readonly name = 'CorruptError'
  readonly file: string
  constructor(file: string, message: string, options: { cause?: unknown } = {}) {
    super(message, options)
    this.file = file
  }
}

const DISK_CODES: readonly [RegExp, DiskFault][] = [
  [/^(SQLITE_FULL|ENOSPC|EDQUOT)/, 'DISK_FULL'],
  [/^(SQLITE_READONLY|EROFS)/, 'READ_ONLY'],
  [/^(SQLITE_CANTOPEN|EACCES|EPERM|EMFILE|ENFILE|ENOENT|ENOTDIR|EISDIR|EEXIST|ELOOP|ENAMETOOLONG)/, 'CANNOT_OPEN'],
  [/^(SQLITE_IOERR|EIO)/, 'IO'],
]

/** The same error in the words of this file, or unchanged when it is about something else. */
export function asStoreError(error: unknown, file: string): unknown {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if (at instanceof DiskError || at instanceof CorruptError) return at
    const code = 'code' in at && typeof at.code === 'string' ? at.code : ''
    if (/^SQLITE_(NOTADB|CORRUPT)/.test(code))
      return new CorruptError(file, `${file} is damaged (${code})`, { cause: error })
    const fault = DISK_CODES.find(([pattern]) => pattern.test(code))?.[1]
    if (fault !== undefined) return new DiskError(fault, `${file} cannot be used (${code})`, { cause: error })
  }
  return error
}

/** Runs `work` on a file and throws what it throws in the words of this file. */
export function onDisk<T>(file: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw asStoreError(error, file)
  }
}
