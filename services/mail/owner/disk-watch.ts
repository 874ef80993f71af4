/**
 * Whether this instance can keep users. After a take-over that failed for the disk it tries the data folder, and as long
 * as nothing can be written there the session says so: the others own the users then, if one of them can. A fault of one
 * user's file is none of the folder.
 */
import type { Log } from '#shared/log.ts'
import { type Backoff, ceilingMs } from '../base/backoff.ts'
import { type Clock, pause } from '../base/time.ts'
import { DiskError, type DiskFault } from '../store/disk-errors.ts'
import type { Session } from './session.ts'

const PROBE_BACKOFF: Backoff = { baseMs: 1_000, maxMs: 60_000 }

export class DiskWatch {
  #looking = false
  readonly #probe: () => Promise<void>
  readonly #session: Session
  readonly #clock: Clock
  readonly #log: Log

  /** @param probe throws DiskError while nothing can be written. */
  constructor(probe: () => Promise<void>, session: Session, clock: Clock, log: Log) {
    this.#probe = probe
    this.#session = session
    this.#clock = clock
    this.#log = log
  }

  /** A take-over failed: if for the disk, the folder is tried until something can be written again. */
  suspect(error: unknown, signal: AbortSignal): void {
    if (this.#looking || !(error instanceof DiskError)) return
    this.#looking = true
    void this.#look(signal)
      .catch((fault) => this.#log.error({ err: fault }, 'the data folder could not be tried'))
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
      if (fault === null) return
      await pause(this.#clock, ceilingMs(failures, PROBE_BACKOFF), signal)
    }
  }

  async #ask(): Promise<DiskFault | null> {
    try {
      await this.#probe()
      return null
    } catch (error) {
      if (error instanceof DiskError) return error.code
      throw error
    }
  }
}
