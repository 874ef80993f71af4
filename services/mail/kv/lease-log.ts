/**
 * `mail_leases` as every instance sees it: sessions, with the monotonic time at which each was last seen to change,
 * and leases. It observes and writes by compare-and-set; who should own whom is decided in owner/.
 */
import type { Log } from '#shared/log.ts'
import { leaseKey, parseLeaseKey, sessionKey } from '#shared/subjects.ts'
import type { Clock } from '../base/time.ts'
import type { Revised } from './account-record.ts'
import type { Bucket } from './bucket.ts'
import { LeaseLogRecord, type LeaseRecord, type SessionRecord } from './lease-records.ts'
import { parseRecord } from './parse.ts'
import { Replica } from './replica.ts'

export type SeenSession = Revised<SessionRecord> & { sid: string; changedMonoMs: number }

const parse = parseRecord(LeaseLogRecord)

export class LeaseLog {
  readonly replica: Replica<LeaseLogRecord>
  readonly sessions = new Map<string, SeenSession>()
  readonly leases = new Map<string, Revised<LeaseRecord>>()
  /** Called after a session changed its state, came or went. */
  onMembers: () => void = () => undefined
  /** Called after a lease changed. */
  onLease: (userId: string) => void = () => undefined
  readonly #bucket: () => Bucket
  readonly #clock: Clock

  constructor(bucket: () => Bucket, clock: Clock, log: Log) {
    this.#bucket = bucket
    this.#clock = clock
    this.replica = new Replica(parse, clock, log)
    this.replica.listen((key, entry) => this.#index(key, entry))
  }

  /** Creation time of the bucket: the era of every epoch. */
  get era(): number {
    return this.#bucket().createdMs
  }

  run(signal: AbortSignal): Promise<void> {
    return this.replica.run(this.#bucket, signal)
  }

  async readSession(sid: string): Promise<Revised<SessionRecord> | null> {
    const found = await this.#bucket().read(sessionKey(sid))
    const record = found === null ? null : parse(found.value)
    return found === null || record?.kind !== 'session' ? null : { record, revision: found.revision }
  }

  async readLease(userId: string): Promise<Revised<LeaseRecord> | null> {
    const found = await this.#bucket().read(leaseKey(userId))
    const record = found === null ? null : parse(found.value)
    return found === null || record?.kind !== 'lease' ? null : { record, revision: found.revision }
  }

  writeSession(sid: string, record: SessionRecord, revision: number | null, timeoutMs: number): Promise<number> {
    return this.#bucket().write(sessionKey(sid), JSON.stringify(record), revision, timeoutMs)
  }

  removeSession(sid: string, revision: number): Promise<void> {
    return this.#bucket().remove(sessionKey(sid), revision)
  }

  async writeLease(userId: string, record: LeaseRecord, revision: number | null): Promise<number> {
    const written = await this.#bucket().write(leaseKey(userId), JSON.stringify(record), revision)
    this.replica.note(leaseKey(userId), record, written)
    return written
  }

  #index(key: string, entry: Revised<LeaseLogRecord> | null): void {
    const parts = parseLeaseKey(key)
    if (parts === null) return
    if ('sid' in parts) this.#indexSession(parts.sid, entry)
    else this.#indexLease(parts.userId, entry)
  }

  #indexSession(sid: string, entry: Revised<LeaseLogRecord> | null): void {
    const before = this.sessions.get(sid)
    if (entry === null || entry.record.kind !== 'session') this.sessions.delete(sid)
    else
      this.sessions.set(sid, {
        sid,
        record: entry.record,
        revision: entry.revision,
        changedMonoMs: this.#clock.monoMs(),
      })
    if (before?.record.state !== this.sessions.get(sid)?.record.state) this.onMembers()
  }

  #indexLease(userId: string, entry: Revised<LeaseLogRecord> | null): void {
    if (entry === null || entry.record.kind !== 'lease') this.leases.delete(userId)
    else this.leases.set(userId, { record: entry.record, revision: entry.revision })
    this.onLease(userId)
  }
}
