/**
 * How often one user may ask, and how often of that connect. A user is who a token has proven; trusted services are not
 * counted. Each instance counts what it answers, in memory: after a restart it begins anew.
 */
import { AppError } from '#shared/errors.ts'
import { lru } from '#shared/lru.ts'
import type { OperationName } from '#shared/subjects.ts'
import type { Clock } from '../base/time.ts'

const MINUTE_MS = 60_000
/** Who has not asked for longest is forgotten first, and may ask again as often as somebody new. */
const USERS_MAX = 10_000

export type UserRates = { requestsPerMin: number; connectsPerMin: number }

export class UserRate {
  readonly #requests: Pace
  readonly #connects: Pace

  constructor({ requestsPerMin, connectsPerMin }: UserRates, clock: Clock) {
    this.#requests = new Pace(requestsPerMin, clock)
    this.#connects = new Pace(connectsPerMin, clock)
  }

  /**
   * Counts one request; what is refused does not count.
   * @throws AppError RATE_LIMITED with `retry_after_s`
   */
  admit(userId: string, operation: OperationName): void {
    const paces = operation === 'connect' ? [this.#requests, this.#connects] : [this.#requests]
    for (const pace of paces) {
      const waitMs = pace.waitMs(userId)
      if (waitMs > 0)
        throw new AppError('RATE_LIMITED', { per_min: pace.perMin, retry_after_s: Math.ceil(waitMs / 1_000) })
    }
    for (const pace of paces) pace.take(userId)
  }
}

/** A bucket for each user: a minute's worth at once, and then as it fills. It holds when the bucket is full again. */
class Pace {
  readonly perMin: number
  readonly #clock: Clock
  readonly #fullAtMs = lru<number>(USERS_MAX)

  constructor(perMin: number, clock: Clock) {
    this.perMin = perMin
    this.#clock = clock
  }
  waitMs(userId: string): number {
    return this.#afterMs(userId) - this.#clock.monoMs() - MINUTE_MS
  }
  take(userId: string): void {
    this.#fullAtMs.set(userId, this.#afterMs(userId))
  }
  #afterMs(userId: string): number {
    const nowMs = this.#clock.monoMs()
    return Math.max(nowMs, this.#fullAtMs.get(userId) ?? nowMs) + MINUTE_MS / this.perMin
  }
}
