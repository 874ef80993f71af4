/**
 * Declares silent sessions dead, and those of an earlier process on the own data directory at once: a restart waits for
 * nothing. Each is given the silence that its record names. Silence is only counted while this instance is live itself
 * and its watch is fresh; death is decided in the log, by a compare-and-set at the very revision that was seen.
 */
import type { Log } from '#shared/log.ts'
import type { Clock } from '../base/time.ts'
import { RevisionConflict } from '../kv/account-record.ts'
import type { LeaseLog, SeenSession } from '../kv/lease-log.ts'
import type { LeaseTimes } from './lease-times.ts'
import type { Session } from './session.ts'

const DEAD_KEPT_MS = 3_600_000

export class Observer {
  #watchingSinceMs: number | null = null
  #missingSinceMs: number | null = null
  readonly #leases: LeaseLog
  readonly #session: Session
  readonly #times: LeaseTimes
  readonly #clock: Clock
  readonly #log: Log

  constructor(leases: LeaseLog, session: Session, times: LeaseTimes, clock: Clock, log: Log) {
    this.#leases = leases
    this.#session = session
    this.#times = times
    this.#clock = clock
    this.#log = log
  }

  async scan(): Promise<void> {
    const watching = this.#session.valid && this.#leases.replica.fresh
    if (!watching) this.#missingSinceMs = null
    if (!watching || this.#ownBeatMissing()) {
      this.#watchingSinceMs = null
      return
    }
    this.#watchingSinceMs ??= this.#clock.monoMs()
    for (const session of [...this.#leases.sessions.values()]) await this.#judge(session, this.#watchingSinceMs)
  }

  /** A watch dies silently when its bucket is recreated: the own heartbeats must come back through it. */
  #ownBeatMissing(): boolean {
    const nowMs = this.#clock.monoMs()
    const patienceMs = this.#times.silenceMs / 2
    const own = this.#leases.sessions.get(this.#session.sid)
    if (own !== undefined && nowMs - own.changedMonoMs <= patienceMs) {
      this.#missingSinceMs = null
      return false
    }
    // Before the first one has come back it may still be on its way.
    this.#missingSinceMs ??= this.#watchingSinceMs === null ? nowMs : (own?.changedMonoMs ?? nowMs)
    if (nowMs - this.#missingSinceMs > patienceMs) {
      this.#log.warn('own heartbeats do not come back through the watch; watching anew')
      this.#leases.replica.renew()
      this.#missingSinceMs = nowMs
    }
    return true
  }

  async #judge({ sid, record, revision, changedMonoMs }: SeenSession, watchingSinceMs: number): Promise<void> {
    if (sid === this.#session.sid) return
    const nowMs = this.#clock.monoMs()
    const silentMs = nowMs - Math.max(changedMonoMs, watchingSinceMs)
    try {
      if (record.state === 'dead') {
        // Nothing is judged here, so it does not matter whether this instance was sure of itself all the time.
        if (nowMs - changedMonoMs > DEAD_KEPT_MS) await this.#leases.removeSession(sid, revision)
      } else if (silentMs > (record.silence_ms ?? this.#times.silenceMs) || this.#session.succeeds(sid, record)) {
        await this.#leases.writeSession(
          sid,
          { ...record, state: 'dead', by: this.#session.sid },
          revision,
          this.#times.requestMs,
        )
        this.#log.warn(
          { sid, instance: record.name, silentMs: Math.round(silentMs) },
          'an instance that is gone was declared dead',
        )
      }
    } catch (error) {
      if (!(error instanceof RevisionConflict)) throw error
      this.#log.debug({ sid }, 'the silent instance lives')
    }
  }
}
