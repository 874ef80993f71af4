/**
 * `mail_leases` as every instance sees it: sessions, with the monotonic time at which each was last seen to change,
 * leases, and the era. It observes and writes by compare-and-set; who should own whom is decided in owner/.
 */
import type { Log } from '#shared/log.ts'
import { ERA_KEY, leaseKey, parseLeaseKey, sessionKey } from '#shared/subjects.ts'
import type { Clock } from '../base/time.ts'
import { type Revised, RevisionConflict } from './account-record.ts'
import type { Bucket } from './bucket.ts'
import { type EraRecord, LeaseLogRecord, type LeaseRecord, type SessionRecord } from './lease-records.ts'
import { parseRecord } from './parse.ts'
import { Replica } from './replica.ts'

/** `seenMonoMs`: when it was seen to come. */
export type SeenLease = Revised<LeaseRecord> & { seenMonoMs: number }
type Seen = Revised<LeaseLogRecord> & { seenMonoMs: number }
export type SeenSession = Revised<SessionRecord> & { sid: string; changedMonoMs: number }

const CAS_ROUNDS = 5
const parse = parseRecord(LeaseLogRecord)

export class LeaseLog {
  readonly replica: Replica<LeaseLogRecord, Seen>
  readonly sessions = new Map<string, SeenSession>()
  readonly leases = new Map<string, SeenLease>()
  /** Called after a session changed its state or what its disk can keep, came or went. */
  onMembers: () => void = () => undefined
  /** Called after a lease changed. */
  onLease: (userId: string) => void = () => undefined
  /** Called after a new era began: every epoch that was given out before is over. */
  onEra: () => void = () => undefined
  readonly #bucket: () => Bucket
  readonly #clock: Clock
  readonly #log: Log
  /** The highest that was ever recorded, as far as this instance knows. */
  #era = 0
  /** Revisions against which a write went unanswered, by user, until another one is seen: see `mayFall`. */
  readonly #unanswered = new Map<string, number>()

  constructor(bucket: () => Bucket, clock: Clock, log: Log) {
    this.#bucket = bucket
    this.#clock = clock
    this.#log = log
    const seen = (_key: string, { record, revision }: Revised<LeaseLogRecord>): Seen => {
      return { record, revision, seenMonoMs: clock.monoMs() }
    }
    this.replica = new Replica(parse, clock, log, seen)
    this.replica.listen((key, entry) => this.#index(key, entry))
  }

  /** First number of every epoch: the creation time of the bucket, or what was recorded since, when it went backwards. */
  get era(): number {
    return Math.max(this.#bucket().createdMs, this.#era)
  }

  /**
   * The bucket went backwards: what was seen of it is void, and later epochs must stand above all earlier ones.
   * @param eraThen the era when that was noticed. If a later one has begun, somebody else has acted for all.
   */
  async wentBackwards(eraThen: number): Promise<void> {
    if (this.era > eraThen) return this.replica.renew()
    this.replica.clear()
    await this.raiseEra(eraThen)
  }

  /** The era as the server has it now; from here on this instance goes by its record. */
  async lookUpEra(): Promise<number> {
    return (await this.#lookUpEra()).era
  }

  /**
   * Sees to it that the era is above the given one, for all instances: whoever comes second finds it done.
   * @throws RevisionConflict when others kept winning.
   */
  async raiseEra(above: number): Promise<void> {
    for (let round = 1; ; round++) {
      const present = await this.#lookUpEra()
      if (present.era > above) return
      const era = Math.max(this.#clock.wallMs(), above + 1)
      const record: EraRecord = { v: 1, kind: 'era', era }
      try {
        this.#indexEra(era, await this.#bucket().write(ERA_KEY, JSON.stringify(record), present.revision))
        this.#log.error({ era, above }, 'the bucket of leases went backwards: a new era begins')
        return
      } catch (error) {
        if (!(error instanceof RevisionConflict) || round === CAS_ROUNDS) throw error
      }
    }
  }

  /** sid of the user's owner, as far as this instance has seen; null when nobody owns the user. */
  ownerOf(userId: string): string | null {
    return this.leases.get(userId)?.record.owner ?? null
  }

  /** The session with this sid as this instance has seen it; null when it is dead or gone. */
  living(sid: string | null): SessionRecord | null {
    const record = sid === null ? undefined : this.sessions.get(sid)?.record
    return record === undefined || record.state === 'dead' ? null : record
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

  /** What the leader has, with the revision of the record, if there is one; one that cannot be read is no era. */
  async #lookUpEra(): Promise<{ era: number; revision: number | null }> {
    const createdMs = await this.#bucket().lookUpCreatedMs()
    const found = await this.#bucket().read(ERA_KEY)
    if (found === null) return { era: createdMs, revision: null }
    const record = parse(found.value)
    const era = record?.kind === 'era' ? record.era : 0
    this.#indexEra(era, found.revision)
    return { era: Math.max(createdMs, era), revision: found.revision }
  }

  async writeSession(sid: string, record: SessionRecord, revision: number | null, timeoutMs: number): Promise<number> {
    const written = await this.#bucket().write(sessionKey(sid), JSON.stringify(record), revision, timeoutMs)
    // That a heartbeat comes back is for the watch to show; that somebody leaves is acted on at once.
    if (record.state !== 'live') this.replica.note(sessionKey(sid), record, written)
    return written
  }

  removeSession(sid: string, revision: number): Promise<void> {
    return this.#bucket().remove(sessionKey(sid), revision)
  }

  async writeLease(userId: string, record: LeaseRecord, revision: number | null): Promise<number> {
    try {
      const written = await this.#bucket().write(leaseKey(userId), JSON.stringify(record), revision)
      this.replica.note(leaseKey(userId), record, written)
      return written
    } catch (error) {
      if (revision !== null && !(error instanceof RevisionConflict)) this.#unanswered.set(userId, revision)
      throw error
    }
  }

  /** An own write against this revision of the lease was never answered: it may still arrive, and replace the lease. */
  mayFall(userId: string, revision: number): boolean {
    return this.#unanswered.get(userId) === revision
  }

  #index(key: string, entry: Seen | null): void {
    if (key === ERA_KEY && entry?.record.kind === 'era') this.#indexEra(entry.record.era, entry.revision)
    const parts = parseLeaseKey(key)
    if (parts === null) return
    if ('sid' in parts) this.#indexSession(parts.sid, entry)
    else this.#indexLease(parts.userId, entry)
  }

  /** An era is never taken back, not even by a bucket that has lost its record. */
  #indexEra(era: number, revision: number): void {
    if (era <= this.#era) return
    this.#era = era
    // Who wrote it has seen the bucket go backwards, and acted on it for all.
    this.#bucket().forgetAbove(revision)
    this.onEra()
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
    const [was, is] = [before?.record, this.sessions.get(sid)?.record]
    if (was?.state !== is?.state || was?.full !== is?.full) this.onMembers()
  }

  #indexLease(userId: string, entry: Seen | null): void {
    if (entry === null || !isLease(entry)) this.leases.delete(userId)
    else this.leases.set(userId, entry)
    if (this.#unanswered.get(userId) !== this.leases.get(userId)?.revision) this.#unanswered.delete(userId)
    this.onLease(userId)
  }
}

const isLease = (entry: Seen): entry is SeenLease => entry.record.kind === 'lease'
