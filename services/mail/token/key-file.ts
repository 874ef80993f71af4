/**
 * The key of a development machine: `.mail-sync/token.key` beside the data folder, made once, then only read.
 * It never overwrites a key, and never makes one when stored tokens need a key that is gone.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  realpathSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname, join, resolve, sep } from 'node:path'
import { faultCode } from '#shared/fault-code.ts'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import { ensureDir } from '../store/ensure-dir.ts'
import { keysFromFile } from './key-sources.ts'

const FILE_MODE = 0o600

/** Where the key of a development machine lies. */
export const localKeyFile = (dataDir: string): string => join(dirname(resolve(dataDir)), '.mail-sync', 'token.key')

/**
 * Reads the key, making it first when there is none. Of several processes that start at once one makes it, all read it.
 * @throws ExitError 78
 */
export function localKey(dataDir: string, kidsInUse: readonly string[], log: Log): { text: string; source: string } {
  const file = localKeyFile(dataDir)
  try {
    return { text: textOf(file, dataDir, kidsInUse, log), source: file }
  } catch (error) {
    if (error instanceof ExitError) throw error
    const why = `${file} cannot be made or read (${faultCode(error)})`
    throw new ExitError(EXIT_CONFIG, `${why}: let this user write there, or set MAIL_TOKEN_KEYS`, { cause: error })
  }
}

function textOf(file: string, dataDir: string, kidsInUse: readonly string[], log: Log): string {
  if (lstatSync(file, { throwIfNoEntry: false }) === undefined) {
    if (kidsInUse.length > 0)
      throw new ExitError(
        EXIT_CONFIG,
        `Stored tokens are sealed with a key that is not here (${file} does not exist). Bring that key back, or set MAIL_TOKEN_KEYS; a new key would lose those tokens.`,
      )
    makeKey(file, dataDir, log)
  }
  checkDir(dirname(file), dataDir)
  return keysFromFile(file, 'the local token key')
}

/** Written aside and linked into place: others see either no key or the whole key, and a link never replaces one. */
function makeKey(file: string, dataDir: string, log: Log): void {
  const dir = dirname(file)
  ensureDir(dir)
  checkDir(dir, dataDir)
  const kid = `local-${randomBytes(4).toString('hex')}`
  const draft = `${file}.${randomBytes(8).toString('hex')}`
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants
  const descriptor = openSync(draft, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, FILE_MODE)
  try {
    writeSync(descriptor, `${kid}:${randomBytes(32).toString('base64url')}\n`)
    fsyncSync(descriptor)
    linkSync(draft, file)
    log.warn({ kid, file }, 'made a token key for this machine; keep a copy of it apart from the data')
  } catch (error) {
    const taken = error instanceof Error && 'code' in error && error.code === 'EEXIST'
    if (!taken) throw error
  } finally {
    closeSync(descriptor)
    rmSync(draft, { force: true })
    syncDir(dir)
  }
}

/** A real folder of this user, closed to others, not inside the data folder (whose backup would then hold the key). */
function checkDir(dir: string, dataDir: string): void {
  const refuse = (what: string): ExitError =>
    new ExitError(EXIT_CONFIG, `${dir} holds the token key and ${what}; or set MAIL_TOKEN_KEYS`)
  const status = lstatSync(dir)
  if (!status.isDirectory()) throw refuse('must be a folder, not a link')
  if ((status.mode & 0o077) !== 0) throw refuse('must be closed to others: run "chmod 700" on it')
  if (status.uid !== process.geteuid?.()) throw refuse('must belong to the user who runs the service')
  ensureDir(dataDir)
  const data = realpathSync(dataDir)
  if (`${realpathSync(dir)}${sep}`.startsWith(data.endsWith(sep) ? data : `${data}${sep}`))
    throw refuse('must not lie inside MAIL_DATA_DIR')
}

function syncDir(dir: string): void {
  const descriptor = openSync(dir, constants.O_RDONLY)
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
