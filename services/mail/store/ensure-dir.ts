/**
 * Makes folders that only this user may enter, one level at a time: the `recursive` of Node spins for ever where a file
 * system like /proc refuses with ENOENT. It never changes a folder that is there.
 */
import { mkdirSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { faultCode } from '#shared/fault-code.ts'
import { asStoreError, DiskError } from './disk-errors.ts'

const DIR_MODE = 0o700

/**
 * After this the folder is there. `parents: false` makes the last level only.
 * @throws DiskError
 */
export function ensureDir(dir: string, { parents }: { parents: boolean } = { parents: true }): void {
  const path = resolve(dir)
  try {
    if (isDir(path)) return
    if (parents) ensureDir(dirname(path))
    mkdirSync(path, { mode: DIR_MODE })
  } catch (error) {
    const fault = asStoreError(error, path)
    if (error instanceof DiskError || !(fault instanceof DiskError)) throw fault
    const code = faultCode(error)
    // Another process may have made it in between.
    if (code === 'EEXIST' && isDir(path)) return
    const what = code === 'EEXIST' ? 'is not a folder' : `cannot be made (${code})`
    throw new DiskError(fault.code, `${path} ${what}`, { cause: error })
  }
}

const isDir = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
