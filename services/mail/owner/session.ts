/**
 * One life of this instance in `mail_leases`: opened, kept by heartbeats, drained, deleted.
 * A term is trusted only until `validUntil`, which is counted from before the heartbeat was sent.
 *
 *   closed → live → (draining) → closed          live → lost → live under a new sid
 */
import type { Log } from '#shared/log.ts'
import { uuidV7 } from '#shared/uuid.ts'
import { type Clock, endsWithin, pause } from '../base/time.ts'
import { RevisionConflict } from '../kv/account-record.ts'
import type { LeaseLog } from '../kv/lease-log.ts'
import type { SessionRecord } from '../kv/lease-records.ts'
import type { DiskFault } from '../store/disk-errors.ts'
import type { LeaseTimes } from './lease-times.ts'

/** A wall clock that runs apart from the monotonic one by more than this was set, or the machine slept. */
const CLOCK_JUMP_MS = 1_000

export type SessionIdentity = {
  name: string
  directory: string
  /** This process has the lock on the directory now, so no other process works on it. */
  holdsDirectory(): boolean
  address: string
  version: string
}

export class Session {
  #sid = ''
  /** sid of the first session of this process. */
  #firstSid = ''
  #revision = 0
  #beats = 0
  #validUntilMs = 0
  #state: 'closed' | 'live' | 'draining' = 'closed'
  #wallOffsetMs = 0
  #leaving = false
  #full: DiskFault | null = null
  #blind = false
  /** One write of the own session at a time. */
  #writing: Promise<void> = Promise.resolve()
  /** Called when the session was declared dead, went missing or went back: everything owned under it is lost. */
  onLost: () => void = () => undefined
  readonly #log: LeaseLog
  readonly #times: LeaseTimes
  readonly #identity: SessionIdentity
  readonly #clock: Clock
  readonly #logger: Log

  constructor(log: LeaseLog, times: LeaseTimes, identity: SessionIdentity, clock: Clock, logger: Log) {
    this.#log = log
    this.#times = times
    this.#identity = identity
    this.#clock = clock
    this.#logger = logger
  }

  get sid(): string {
    return this.#sid
  }
  /** Where the others ask this process. */
  get address(): string {
    return this.#identity.address
  }
  get name(): string {
    return this.#identity.name
  }
  /** Why the disk can keep no users; null = it can. */
  get full(): DiskFault | null {
    return this.#full
  }
  /** The watches fail: it does not see what it should do, and can keep no users. */
  get blind(): boolean {
    return this.#blind
  }
  /** The own term is trusted now. Asked before every effect, never remembered. */
  get valid(): boolean {
    if (this.#state === 'closed' || this.#clock.monoMs() >= this.#validUntilMs) return false
    return Math.abs(this.#clock.wallMs() - this.#clock.monoMs() - this.#wallOffsetMs) <= CLOCK_JUMP_MS
  }
  /** As it is now; suspended: open, but its term is not trusted at this moment. */
  get state(): 'live' | 'draining' | 'suspended' | 'closed' {
    return this.#state === 'closed' || this.valid ? this.#state : 'suspended'
  }
  /** New users may be taken: live, and well before the deadline. */
  get acquiring(): boolean {
    return this.#state === 'live' && this.valid && this.#clock.monoMs() < this.#validUntilMs - this.#times.marginMs
  }

  /**
   * A session of the process that had the data directory before: of the same name and directory, whose lock this process
   * holds, so it can only be that of a dead one. One opened later than this process began is of a process on a copy of
   * the directory, which lives. sids are UUIDv7, in order of time; where a clock was set back the silence is waited for.
   */
  succeeds(sid: string, { name, directory }: SessionRecord): boolean {
    const { holdsDirectory, ...mine } = this.#identity
    return sid < this.#firstSid && name === mine.name && directory === mine.directory && holdsDirectory()
  }

  /**
   * Heartbeats until the signal aborts; opens a new session whenever there is none.
   * Never rejects for a fault of NATS: without acknowledgement the term simply runs out.
   */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        // The others hand users to whoever has a session, and who sees nothing cannot even give them back.
        if (this.#state === 'closed' && !this.#leaving) await this.#log.replica.whenFresh(signal)
        await this.#exclusive(() => this.#keep())
      } catch (error) {
        if (!signal.aborted) this.#logger.warn({ err: error }, 'heartbeat failed')
      }
      await pause(this.#clock, this.#pauseMs, signal)
    }
  }

  /**
   * The first heartbeat comes early: it shows the others that whoever has joined stays. So does the next after a term that
   * ran out: when NATS comes back, those who are heard first count the silence of the rest.
   */
  get #pauseMs(): number {
    const { requestMs, firstBeatMs, heartbeatMs } = this.#times
    if (this.#state === 'closed') return requestMs
    return this.#beats === 0 || !this.valid ? firstBeatMs : heartbeatMs
  }

  /** Tells the others that this instance takes no users any more. */
  async drain(): Promise<void> {
    this.#leaving = true
    if (this.#state !== 'live') return
    this.#state = 'draining'
    await this.#exclusive(() => this.#beat())
  }

  /** Tells the others that this disk can keep no users, or that it can again. */
  setFull(fault: DiskFault | null): Promise<void> {
    this.#full = fault
    return this.#tell()
  }
  setBlind(isBlind: boolean): Promise<void> {
    this.#blind = isBlind
    return this.#tell()
  }

  async #tell(): Promise<void> {
    if (this.#state === 'closed') return
    await this.#exclusive(() => this.#beat()).catch((error) =>
      this.#logger.debug({ err: error }, 'the next heartbeat tells it'),
    )
  }

  /** Deletes the session, so that nobody has to wait for its silence. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    await this.#exclusive(() => this.#log.removeSession(this.#sid, this.#revision))
  }

  #exclusive(write: () => Promise<void>): Promise<void> {
    const turn = this.#writing.then(write, write)
    this.#writing = turn
    return turn
  }

  /** Who is leaving does not come back, not even when the others have declared it dead meanwhile. */
  async #keep(): Promise<void> {
    if (this.#state !== 'closed') await this.#beat()
    else if (!this.#leaving) await this.#open()
  }

  async #open(): Promise<void> {
    const sid = uuidV7()
    const sent = this.#clock.monoMs()
    this.#beats = 0
    this.#revision = await this.#log.writeSession(sid, this.#record('live'), null, this.#times.requestMs)
    this.#sid = sid
    this.#firstSid ||= sid
    this.#state = 'live'
    this.#extend(sent)
    this.#logger.info({ sid, instance: this.#identity.name }, 'session opened')
  }

  async #beat(): Promise<void> {
    const sent = this.#clock.monoMs()
    this.#beats += 1
    const state = this.#state === 'draining' ? 'draining' : 'live'
    try {
      this.#revision = await this.#log.writeSession(
        this.#sid,
        this.#record(state),
        this.#revision,
        this.#times.requestMs,
      )
      this.#extend(sent)
    } catch (error) {
      await this.#examine(error)
    }
  }

  /** The write failed or timed out: look at the key. Only an acknowledged write extends the term. */
  async #examine(cause: unknown): Promise<void> {
    const reading = this.#log.readSession(this.#sid)
    // What is asked while the link is down is never answered, and the others count: it is asked again in good time.
    if (!(await endsWithin(this.#clock, this.#times.requestMs, reading))) throw cause
    const found = await reading
    // A record that fell behind what was acknowledged stands in a bucket that went backwards: so do the leases.
    if (found !== null && found.record.state !== 'dead' && found.revision >= this.#revision) {
      this.#revision = found.revision
      if (!(cause instanceof RevisionConflict)) throw cause
      return
    }
    this.#logger.warn(
      { sid: this.#sid, state: found?.record.state, by: found?.record.by },
      'session was declared dead or lost; all users are dropped',
    )
    this.#state = 'closed'
    this.#validUntilMs = 0
    this.onLost()
  }

  #extend(sentMonoMs: number): void {
    this.#validUntilMs = sentMonoMs + this.#times.silenceMs - this.#times.marginMs
    this.#wallOffsetMs = this.#clock.wallMs() - this.#clock.monoMs()
    const [nowMs, validUntilMs] = [this.#clock.monoMs(), this.#validUntilMs]
    this.#logger.debug({ sid: this.#sid, nowMs, validUntilMs }, 'term extended')
  }

  #record(state: 'live' | 'draining'): SessionRecord {
    const { name, directory, address, version } = this.#identity
    const why = this.#full ?? (this.#blind ? 'BLIND' : null)
    const full = why === null ? {} : { full: why }
    const silence_ms = this.#times.silenceMs
    return { v: 1, kind: 'session', name, directory, address, state, ...full, silence_ms, n: this.#beats, version }
  }
}
