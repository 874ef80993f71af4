/**
 * Which users this instance owns: it follows sessions, leases and accounts, acquires what is its own and free, releases
 * what is another's, and drops everything when its own term ends. One tenure per user does the work.
 */
import type { AccountStatus } from '#shared/contract.ts'
import { parseUserKey } from '#shared/subjects.ts'
import type { Epoch } from '../base/model.ts'
import { pause } from '../base/time.ts'
import { Wake } from '../base/wake.ts'
import { StaleEpochError } from '../store/user-store.ts'
import { DiskWatch } from './disk-watch.ts'
import { closeSession, handOver, haveLeft } from './hand-over.ts'
import { type Last, learnFrom, NOTHING_KNOWN, returnLease, winLease } from './lease.ts'
import { carries, epochOf, isFree, isOvertaken } from './lease-view.ts'
import { Members } from './members.ts'
import { Moves, type Step } from './moves.ts'
import { Observer } from './observer.ts'
import { Session } from './session.ts'
import { Sight } from './sight.ts'
import { type End, endBefore, type StartTime, startTime, toldStartTime } from './start-time.ts'
import { Tenure } from './tenure.ts'
import type { SupervisorDeps } from './tenure-deps.ts'
import type { Term, TermHost } from './term.ts'

const RETRY_MS = 1_000
/** How long a status waits for the start of a user: less than who asks for it. */
const START_MS = 700
const OTHER_TERM: unknown = new Error('the user belongs to another term')

export class Supervisor {
  readonly session: Session
  readonly #deps: SupervisorDeps
  readonly #observer: Observer
  readonly #tenures = new Map<string, Tenure>()
  readonly #host: TermHost
  readonly #moves: Moves
  readonly #disk: DiskWatch
  readonly #dirty = new Set<string>()
  /** Users for whom nothing can be done yet: looked at again with the next scan, and when news of them come. */
  readonly #later = new Set<string>()
  readonly #wake = new Wake()
  #allDirty = true
  readonly #members = new Members()
  #joinedMs = Number.NEGATIVE_INFINITY
  readonly #stopping = new AbortController()

  constructor(deps: SupervisorDeps) {
    this.#deps = deps
    const { leases, times, identity, clock, log, accounts } = deps
    this.#moves = new Moves((userId) => this.#mark(userId), clock, log)
    this.session = new Session(leases, times, identity, clock, log)
    this.session.onLost = () => this.#dropAll()
    this.#host = {
      owns: ({ userId, epoch, owner }) =>
        this.session.valid && this.session.sid === owner && carries(userId, epoch, leases),
      changed: (userId) => this.#mark(userId),
    }
    this.#disk = new DiskWatch(deps.tenure.store, this.session, clock, log)
    deps.tenure.store.onDiskFault = (fault) => this.#disk.suspect(fault, this.#stopping.signal)
    this.#observer = new Observer(leases, this.session, times, clock, log)
    leases.onMembers = () => this.#membersChanged()
    leases.onLease = (userId) => this.#mark(userId)
    leases.onEra = () => this.#markAll()
    accounts.replica.listen((key) => {
      const parts = parseUserKey(key)
      if (parts === null) return
      this.#tenures.get(parts.userId)?.accountsChanged()
      this.#mark(parts.userId)
    })
  }

  /** Runs until the signal aborts, then hands every user over. Bounded by the drain limit. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, times, log } = this.#deps
    const beating = new AbortController()
    const beats = this.session.run(beating.signal)
    const release = (userId: string, tenure: Tenure): Promise<void> => this.#release(userId, tenure)
    const held = { session: this.session, tenures: this.#tenures, moves: this.#moves, release }
    const sight = new Sight(this.#deps, held)
    try {
      for (let scannedMs = Number.NEGATIVE_INFINITY; !signal.aborted; ) {
        if (clock.monoMs() - scannedMs >= times.scanMs) {
          scannedMs = clock.monoMs()
          await this.#observer.scan().catch((error) => log.debug({ err: error }, 'scan failed'))
          sight.look()
          for (const userId of this.#later) this.#dirty.add(userId)
          this.#later.clear()
        }
        this.#evaluate()
        await this.#wake.rest(times.scanMs, clock, signal)
      }
      this.#stopping.abort(new Error('draining'))
      await handOver({ ...held, drainMs: times.drainMs, clock, log })
    } finally {
      this.#moves.polls.close()
      beating.abort(new Error('supervisor stopped'))
      await beats
      await closeSession(this.session, log)
    }
  }

  get tenures(): ReadonlyMap<string, Tenure> {
    return this.#tenures
  }
  owns(userId: string): boolean {
    return this.#tenures.has(userId) && this.session.valid
  }
  /** Status of the user's accounts if this instance owns the user, else null. A user at rest is started for it. */
  async statuses(userId: string): Promise<AccountStatus[] | null> {
    const tenure = this.owns(userId) ? this.#tenures.get(userId) : undefined
    if (tenure?.statuses() === null) await tenure.rest.awake(START_MS)
    return tenure?.statuses() ?? null
  }

  #mark(userId: string): void {
    this.#dirty.add(userId)
    this.#wake.ring()
  }

  #markAll(): void {
    this.#allDirty = true
    this.#wake.ring()
  }

  #membersChanged(): void {
    const { leases, clock } = this.#deps
    const change = this.#members.update(leases.sessions.values())
    if (change === 'come') this.#joinedMs = clock.monoMs()
    if (change !== 'same') void this.#moves.hold(() => haveLeft(leases), this.#stopping.signal)
    this.#markAll()
  }

  #evaluate(): void {
    if (!this.session.valid || !this.#deps.leases.replica.fresh || !this.#deps.accounts.replica.fresh) return
    const { accounts } = this.#deps
    const users = this.#allDirty ? new Set([...accounts.users(), ...this.#tenures.keys()]) : new Set(this.#dirty)
    this.#allDirty = false
    this.#dirty.clear()
    for (const userId of users) this.#evaluateUser(userId)
  }

  #evaluateUser(userId: string): void {
    // It is looked at again when the move is over.
    if (this.#moves.has(userId)) return
    const tenure = this.#tenures.get(userId)
    const mine = this.#isMine(userId)
    if (tenure !== undefined) {
      if (tenure.lost.aborted || isOvertaken(userId, tenure.epoch, this.session.sid, this.#deps.leases))
        this.#moves.start(userId, () => this.#bury(userId, tenure))
      else if (this.#isToGo(userId, tenure, mine)) this.#moves.start(userId, () => this.#release(userId, tenure))
      else if (tenure.rest.isDue) this.#moves.start(userId, () => this.#start(userId, tenure))
      else if (tenure.isRestful) this.#moves.start(userId, () => this.#toRest(userId, tenure))
      else if (!mine || !this.#deps.accounts.needsOwner(userId)) this.#later.add(userId)
      return
    }
    if (!mine || this.#stopping.signal.aborted || !this.#deps.accounts.needsOwner(userId)) {
      this.#returnLost(userId)
      return
    }
    if (isFree(userId, this.session.sid, this.#tenures.has(userId), this.#deps.leases) && this.session.acquiring)
      this.#moves.start(userId, () => this.#acquire(userId))
    else this.#later.add(userId)
  }

  #isToGo(userId: string, tenure: Tenure, mine: boolean): boolean {
    if (!this.#deps.accounts.needsOwner(userId)) return tenure.idle
    // A member that has just joined gets a moment to show that it stays.
    return !mine && this.#deps.clock.monoMs() - this.#joinedMs >= this.#deps.times.joinDebounceMs
  }

  /** Of two sessions with this instance's name the later counts; the older one gives its users away. */
  #isMine(userId: string): boolean {
    return this.#members.desired(userId)?.sid === this.session.sid
  }

  /** A return of the lease was lost on the way: as long as it names this session nobody else may take the user. */
  #returnLost(userId: string): void {
    const epoch = epochOf(userId, this.session.sid, this.#deps.leases)
    if (epoch === null) return
    this.#moves.start(userId, () => this.#moves.step('lease', () => this.#giveBack(userId, epoch)))
  }

  async #acquire(userId: string): Promise<void> {
    let end: End = { how: 'cut off' }
    await this.#attempt(userId, 'lease', async () => {
      const { leases, log, clock } = this.#deps
      if (
        !this.session.acquiring ||
        this.#stopping.signal.aborted ||
        !leases.replica.fresh ||
        !isFree(userId, this.session.sid, this.#tenures.has(userId), this.#deps.leases)
      )
        return
      const { sid } = this.session
      end = endBefore(userId, this.session, leases)
      const epoch = await winLease(userId, this.session, leases)
      this.#own(userId, epoch, sid)
      log.debug({ user: userId, epoch, sid, nowMs: clock.monoMs() }, 'user owned')
    })
    const tenure = this.#tenures.get(userId)
    if (tenure !== undefined) await this.#begin(tenure, end)
  }

  #own(userId: string, epoch: Epoch, owner: string, before: Term['before'] = null): Tenure {
    const tenure = new Tenure({ userId, epoch, owner, before }, this.#host, this.#deps.tenure)
    this.#tenures.set(userId, tenure)
    return tenure
  }

  async #begin(tenure: Tenure, end: End): Promise<void> {
    const { userId, rest } = tenure
    const begin = (time: StartTime): void => rest.begin(time, this.#moves.polls, tenure)
    const told = toldStartTime(userId, end, this.#deps.tenure)
    if (told !== null) return begin(told)
    await this.#attempt(userId, 'look', async () => begin(await startTime(userId, end, this.#deps.tenure)))
  }

  /** Work ends as for another owner, but the lease stays: from here on the user is polled at rest. */
  async #toRest(userId: string, tenure: Tenure): Promise<void> {
    const { sid } = this.session
    let isReleased = false
    await this.#attempt(userId, 'work', async () => {
      // Something may have happened while it waited for its turn.
      isReleased = tenure.isRestful && !this.#stopping.signal.aborted
      if (isReleased) await tenure.release()
    })
    if (!isReleased || tenure.lost.aborted || this.#stopping.signal.aborted) return
    const { dueMs, quietAt } = tenure.last
    const next = this.#own(userId, tenure.epoch, sid, tenure.polledMs)
    await tenure.close()
    this.#deps.tenure.store.release(userId)
    // More to do, after all: at once.
    if (dueMs === null || quietAt === null) return await this.#begin(next, { how: 'cut off' })
    await this.#begin(next, { how: 'released', seenMonoMs: this.#deps.clock.monoMs(), dueMs, quietAt })
  }

  #start(userId: string, tenure: Tenure): Promise<void> {
    const work = async (): Promise<void> => {
      if (!this.#stopping.signal.aborted && !tenure.lost.aborted) await tenure.start()
    }
    return this.#attempt(userId, 'work', work, tenure.rest.dueMs ?? undefined)
  }

  /** What fails is tried again, by whoever has the user then. */
  async #attempt(userId: string, kind: Step, work: () => Promise<void>, dueMs?: number): Promise<void> {
    const failed = (error: unknown): Promise<boolean> => this.#failed(userId, error).then(() => false)
    if (!(await this.#moves.step(kind, () => work().then(() => true, failed), dueMs))) await this.#pause()
  }

  async #failed(userId: string, error: unknown): Promise<void> {
    const tenure = this.#tenures.get(userId)
    await learnFrom(userId, error, this.#deps)
    await tenure?.drop(error)
    if (tenure !== undefined) await this.#end(userId, tenure)
  }

  /** What made a user fail is probably still there: not at once again. */
  #pause = (): Promise<void> => pause(this.#deps.clock, RETRY_MS, this.#stopping.signal)

  async #bury(userId: string, tenure: Tenure): Promise<void> {
    const failed = tenure.lost.aborted && !(tenure.lost.reason instanceof StaleEpochError)
    await this.#moves.step('lease', () => tenure.drop(OTHER_TERM))
    if (failed) await this.#pause()
    await this.#moves.step('lease', () => this.#end(userId, tenure))
  }

  async #release(userId: string, tenure: Tenure): Promise<void> {
    tenure.halt()
    try {
      await this.#moves.step('lease', () => tenure.release().then(() => this.#end(userId, tenure)))
    } finally {
      await this.#moves.leasesWritten()
      await tenure.close()
    }
  }

  async #end(userId: string, tenure: Tenure): Promise<void> {
    this.#tenures.delete(userId)
    this.#deps.log.debug({ user: userId, epoch: tenure.epoch, nowMs: this.#deps.clock.monoMs() }, 'user let go')
    await this.#giveBack(userId, tenure.epoch, tenure.last)
  }

  /** To whoever should have the user; to nobody when that is this instance, or when there is nothing to do for the user. */
  async #giveBack(userId: string, epoch: Epoch, last: Last = NOTHING_KNOWN): Promise<void> {
    if (!this.session.valid) return
    const next = this.#deps.accounts.needsOwner(userId) ? this.#members.desired(userId) : null
    const to = next?.sid === this.session.sid ? null : next
    await returnLease(userId, epoch, { ...last, to, from: this.session.sid }, this.#deps.leases)
  }

  #dropAll(): void {
    for (const [userId, tenure] of this.#tenures) this.#moves.start(userId, () => this.#bury(userId, tenure))
    this.#allDirty = true
  }
}
