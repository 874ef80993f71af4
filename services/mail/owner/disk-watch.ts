/**
 * Whether there is room for users on this instance's disk. After a fault of the disk that any user has met it tries the
 * data folder, and as long as nothing can be written there the session says so: the others own the users then, if one of
 * them can. A fault of one user's file is none of the folder.
 */
import type { Log } from '#shared/log.ts'
import { type Backoff, ceilingMs } from '../base/backoff.ts'
import { type Clock, pause } from '../base/time.ts'
import { DiskError, type DiskFault } from '../store/disk-errors.ts'
import type { UserStore } from '../store/user-store.ts'
import type { Session } from './session.ts'

const PROBE_BACKOFF: Backoff = { baseMs: 1_000, maxMs: 60_000 }
const MIB = 1024 * 1024
/** What must be free for users to stay: about a page of mail with its WAL, for some users at once. */
const STAY_BYTES = 4 * MIB
/** And for them to come back: more, so that they do not go to and fro for what they write themselves. */
const RETURN_BYTES = 4 * STAY_BYTES
/** What a whole folder can suffer from. */
const OF_A_FOLDER: ReadonlySet<DiskFault> = new Set(['DISK_FULL', 'READ_ONLY', 'CANNOT_OPEN', 'IO'])

export class DiskWatch {
  #looking = false
  readonly #disk: Pick<UserStore, 'probe'>
  readonly #session: Pick<Session, 'full' | 'setFull'>
  readonly #clock: Clock
  readonly #log: Log

  constructor(disk: Pick<UserStore, 'probe'>, session: Pick<Session, 'full' | 'setFull'>, clock: Clock, log: Log) {
    this.#disk = disk
    this.#session = session
    this.#clock = clock
    this.#log = log
  }

  /** A user met this fault: the folder is tried until something can be written again. */
  suspect(fault: DiskError, signal: AbortSignal): void {
    if (this.#looking || signal.aborted || !OF_A_FOLDER.has(fault.code)) return
    this.#looking = true
    void this.#look(signal)
      .catch((error) => this.#log.error({ err: error }, 'the data folder could not be tried'))
      .finally(() => {
        this.#looking = false
      })
  }

  async #look(signal: AbortSignal): Promise<void> {
    for (let failures = 1; !signal.aborted; failures++) {
      const fault = await this.#ask()
      if (fault !== this.#session.full) {
        this.#log.warn({ fault }, fault === null ? 'the disk takes users again' : 'the disk can keep no users')
        await this.#session.setFull(fault)
      }
      // Also after a good answer: a fault of single files may be met all the time.
      await pause(this.#clock, ceilingMs(failures, PROBE_BACKOFF), signal)
      if (fault === null) return
    }
  }

  async #ask(): Promise<DiskFault | null> {
    try {
      await this.#disk.probe(this.#session.full === null ? STAY_BYTES : RETURN_BYTES)
      return null
    } catch (error) {
      if (error instanceof DiskError) return error.code
      throw error
    }
  }
}
