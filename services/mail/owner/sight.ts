/**
 * Whether this instance sees what it should do. While its heartbeats are acknowledged, but a watch of leases or accounts
 * has not been complete for long, its session says that it can keep no users; and it lets go of those that it has, once it
 * has seen for certain that another instance can have them.
 */
import type { Log } from '#shared/log.ts'
import type { Clock } from '../base/time.ts'
import type { Accounts } from '../kv/accounts.ts'
import type { LeaseLog } from '../kv/lease-log.ts'
import { NOTHING_KNOWN, returnLease } from './lease.ts'
import type { LeaseTimes } from './lease-times.ts'
import type { Moves } from './moves.ts'
import type { Session } from './session.ts'
import type { Tenure } from './tenure.ts'

type Held = {
  session: Session
  tenures: ReadonlyMap<string, Tenure>
  moves: Moves
  release(userId: string, tenure: Tenure): Promise<void>
}
type SightDeps = { accounts: Accounts; leases: LeaseLog; times: LeaseTimes; clock: Clock; log: Log }

export class Sight {
  #blindSinceMs: number | null = null
  #askedMs = Number.NEGATIVE_INFINITY
  /** Of the others, at the first look at each since this instance sees nothing. */
  readonly #revisions = new Map<string, number>()
  readonly #deps: SightDeps
  readonly #held: Held
  readonly #session: Session

  constructor(deps: SightDeps, held: Held) {
    this.#deps = deps
    this.#held = held
    this.#session = held.session
  }

  look(): void {
    const { accounts, leases, times, clock } = this.#deps
    const sees = leases.replica.fresh && accounts.replica.fresh
    if (sees) this.#say(false)
    // Who was cut off as a whole sees again a moment after its term.
    if (sees || !this.#session.valid) {
      this.#blindSinceMs = null
      this.#revisions.clear()
      return
    }
    const nowMs = clock.monoMs()
    this.#blindSinceMs ??= nowMs
    const blindMs = nowMs - this.#blindSinceMs
    if (blindMs > times.blindMs) this.#say(true)
    // Whoever went blind at the same time has said so by then.
    if (blindMs <= times.blindMs + times.joinDebounceMs || nowMs - this.#askedMs < times.heartbeatMs) return
    this.#askedMs = nowMs
    this.#makeWay().catch((error) => this.#deps.log.debug({ err: error }, 'the others cannot be looked at'))
  }

  #say(isBlind: boolean): void {
    if (isBlind === this.#session.blind) return
    this.#deps.log.warn({ isBlind }, isBlind ? 'the watches fail: no users can be kept' : 'the watches work again')
    void this.#session.setBlind(isBlind)
  }

  async #makeWay(): Promise<void> {
    if (!(await this.#anotherCan()) || this.#blindSinceMs === null || !this.#session.valid) return
    const { leases } = this.#deps
    const { tenures, moves, release } = this.#held
    const { sid } = this.#session
    const nobody = { ...NOTHING_KNOWN, to: null, from: sid }
    for (const [userId, tenure] of tenures) moves.start(userId, () => release(userId, tenure))
    for (const [userId, { record, revision }] of leases.leases) {
      if (record.owner !== sid || tenures.has(userId)) continue
      // Handed to this instance, which has not even looked at the user.
      const epoch = { era: leases.era, rev: revision }
      moves.start(userId, () => moves.step('lease', () => returnLease(userId, epoch, nobody, leases)))
    }
    // Whom else it was handed it cannot know: with its session their leases are free.
    if (tenures.size === 0 && !leases.replica.fresh) await this.#session.close()
  }

  /** Read from the bucket, because no watch tells it: one that beats and can keep users. */
  async #anotherCan(): Promise<boolean> {
    const { leases } = this.#deps
    for (const { sid, record } of [...leases.sessions.values()]) {
      if (sid === this.#session.sid || record.state === 'dead') continue
      const found = await leases.readSession(sid)
      if (found?.record.state !== 'live' || found.record.full !== undefined) continue
      const first = this.#revisions.get(sid)
      if (first === undefined) this.#revisions.set(sid, found.revision)
      else if (first < found.revision) return true
    }
    return false
  }
}
