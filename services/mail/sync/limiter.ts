/**
 * A mailbox's share of the provider's quota: a weighted token bucket, a bound on requests in flight that grows with
 * success and halves on throttling, an announced pause, and turns by priority. It never retries.
 */
import { type Backoff, ceilingMs } from '../base/backoff.ts'
import type { Clock } from '../base/time.ts'
import { type Limiter, type Priority, ProviderError, type ProviderErrorFacts } from '../provider/provider.ts'

const RANK: Record<Priority, number> = { incremental: 0, connect: 1, backfill: 2, refill: 3 }
/** Part of the burst that backfill and refill leave to the others. */
const RESERVE = 0.25
const CLEAN_STEP_MS = 30_000
/** Messages of one batch at most. Only Gmail has batches: it takes 100 and advises against more than 50. */
const BATCH_MAX = 25
/** A batch is not larger than what is granted within this time: whoever comes later does not wait longer for its turn. */
const BATCH_WAIT_MS = 1_600
/** Refusals that announce no time hold longer each time: some limits are over in a second, that of a day is not. */
const REFUSED_BACKOFF: Backoff = { baseMs: 1_000, maxMs: 3_600_000 }
export const THROTTLE_MIN_MS = REFUSED_BACKOFF.baseMs

/** Tokens that refill with time; may be shared by many limiters (the quota of a project). */
export class TokenBucket {
  readonly #fullCapacity: number
  #capacity: number
  #tokens: number
  #ratePerMs: number
  readonly #fullRatePerMs: number
  #filledMs: number
  #pausedUntilMs = 0
  /** In a row, without an announced time. */
  #refusals = 0
  readonly #clock: Clock

  constructor(capacity: number, ratePerMs: number, clock: Clock) {
    this.#fullCapacity = capacity
    this.#capacity = capacity
    this.#tokens = capacity
    this.#ratePerMs = ratePerMs
    this.#fullRatePerMs = ratePerMs
    this.#clock = clock
    this.#filledMs = clock.monoMs()
  }

  get capacity(): number {
    return this.#capacity
  }
  /** Milliseconds until `cost` tokens and `reserve` beyond them are there; 0 = now. */
  waitMs(cost: number, reserve: number): number {
    const now = this.#clock.monoMs()
    this.#tokens = Math.min(this.#capacity, this.#tokens + (now - this.#filledMs) * this.#ratePerMs)
    this.#filledMs = now
    const needed = Math.min(cost + reserve, this.#capacity) - this.#tokens
    return Math.max(this.#pausedUntilMs - now, needed <= 0 ? 0 : Math.ceil(needed / this.#ratePerMs))
  }
  /** How many tokens there will be after `ms`. */
  within(ms: number): number {
    this.waitMs(0, 0)
    return Math.min(this.#capacity, this.#tokens + ms * this.#ratePerMs)
  }
  take(cost: number): void {
    this.#tokens -= cost
  }
  /** Nobody takes anything for `ms`; a shorter pause never ends a longer one. */
  pause(ms: number): void {
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#clock.monoMs() + ms)
  }
  /** What is left of the pause, ms. */
  get pausedMs(): number {
    return Math.max(0, this.#pausedUntilMs - this.#clock.monoMs())
  }
  /** The provider refused. Refusals that arrive during a pause are of the same cause. */
  refused(announcedMs: number | undefined): void {
    if (announcedMs !== undefined) this.pause(Math.max(THROTTLE_MIN_MS, announcedMs))
    else if (this.pausedMs === 0) this.pause(ceilingMs(++this.#refusals, REFUSED_BACKOFF))
  }
  /** The provider answered. */
  served(): void {
    if (this.pausedMs === 0) this.#refusals = 0
  }
  /** Changes the rate as a part of the configured one, for example 1/n of a shared mailbox. */
  setShare(share: number): void {
    this.waitMs(0, 0)
    this.#ratePerMs = this.#fullRatePerMs * share
  }
  /** Makes it one of `parts` equal buckets: what it holds beyond its new size is lost, a larger one fills with time. */
  divide(parts: number): void {
    this.setShare(1 / parts)
    this.#capacity = this.#fullCapacity / parts
    this.#tokens = Math.min(this.#tokens, this.#capacity)
  }
}

/** One for all: an error with a stack for each is most of its cost. */
const ANEW: unknown = new Error('looked at anew')

type Waiter = { cost: number; rank: number; start(): void; cancel(reason: unknown): void }

export type LimiterOptions = { start: number; max: number }

export class MailboxLimiter implements Limiter {
  readonly #buckets: readonly TokenBucket[]
  readonly #clock: Clock
  readonly #waiting: Waiter[] = []
  readonly #closed = new AbortController()
  readonly #fullMax: number
  #max: number
  #concurrency: number
  #batch = BATCH_MAX
  #inFlight = 0
  #grownMs: number
  #share = 1
  #slowdown = 1
  #timer: AbortController | null = null

  /** @param buckets the mailbox's own first, then shared ones. */
  constructor(buckets: readonly TokenBucket[], { start, max }: LimiterOptions, clock: Clock) {
    this.#buckets = buckets
    this.#concurrency = start
    this.#fullMax = max
    this.#max = max
    this.#clock = clock
    this.#grownMs = clock.monoMs()
  }

  batchSize(cost: number, priority: Priority): number {
    const granted = this.#buckets.map((bucket, i) => bucket.within(BATCH_WAIT_MS) - this.#reserve(i, RANK[priority]))
    return Math.max(1, Math.min(this.#batch, Math.floor(Math.min(...granted) / cost)))
  }

  async run<T>(
    cost: number,
    priority: Priority,
    signal: AbortSignal,
    request: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    await this.#turn(cost, RANK[priority], signal)
    try {
      const answer = await request(signal)
      for (const bucket of this.#buckets) bucket.served()
      this.#grow()
      return answer
    } catch (error) {
      if (error instanceof ProviderError && error.kind === 'throttled') this.refused(error.facts)
      throw error
    } finally {
      this.#inFlight -= 1
      this.#pump()
    }
  }

  /** The provider throttled the mailbox: nothing is asked for `ms`, then at half the pace. */
  throttled(ms: number): void {
    this.#concurrency = Math.max(1, Math.floor(this.#concurrency / 2))
    this.#batch = Math.max(1, Math.floor(this.#batch / 2))
    this.#slowdown = Math.max(1 / 8, this.#slowdown / 2)
    this.#grownMs = this.#clock.monoMs() + ms
    this.#buckets[0]?.setShare(this.#share * this.#slowdown)
    this.#buckets[0]?.pause(ms)
    this.#pump()
  }

  /** The pause holds from here on: whoever asked reads the refusal only after the next request had its turn. */
  refused({ retryAfterMs, scope }: ProviderErrorFacts): void {
    for (const bucket of scope === 'project' ? this.#buckets : this.#buckets.slice(0, 1)) bucket.refused(retryAfterMs)
  }
  /** What is left of the longest pause, ms. */
  get pausedMs(): number {
    return Math.max(...this.#buckets.map((bucket) => bucket.pausedMs))
  }

  /** How many accounts share the mailbox; each takes its part of the quota. */
  setSharers(count: number): void {
    const share = 1 / Math.max(1, count)
    if (share === this.#share) return
    this.#share = share
    this.#max = Math.max(1, Math.floor(this.#fullMax * share))
    this.#concurrency = Math.min(this.#concurrency, this.#max)
    this.#buckets[0]?.setShare(this.#share * this.#slowdown)
  }

  close(): void {
    this.#closed.abort(new Error('limiter closed'))
    this.#timer?.abort()
    for (const waiter of this.#waiting.splice(0)) waiter.cancel(this.#closed.signal.reason)
  }

  #turn(cost: number, rank: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.#closed.signal.throwIfAborted()
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        const index = this.#waiting.indexOf(waiter)
        if (index >= 0) this.#waiting.splice(index, 1)
        reject(signal.reason)
        this.#pump()
      }
      const waiter: Waiter = {
        cost,
        rank,
        start: () => {
          signal.removeEventListener('abort', onAbort)
          resolve()
        },
        cancel: (reason) => {
          signal.removeEventListener('abort', onAbort)
          reject(reason)
        },
      }
      signal.addEventListener('abort', onAbort, { once: true })
      const place = this.#waiting.findIndex((other) => other.rank > rank)
      this.#waiting.splice(place < 0 ? this.#waiting.length : place, 0, waiter)
      this.#pump()
    })
  }

  #pump(): void {
    // Whatever it waited for is asked anew below; with nobody waiting it would only keep a stopped process alive.
    this.#timer?.abort(ANEW)
    for (;;) {
      const next = this.#waiting[0]
      if (next === undefined || this.#inFlight >= this.#concurrency) return
      const wait = Math.max(...this.#buckets.map((bucket, i) => bucket.waitMs(next.cost, this.#reserve(i, next.rank))))
      if (wait > 0) {
        this.#pumpIn(wait)
        return
      }
      this.#waiting.shift()
      for (const bucket of this.#buckets) bucket.take(next.cost)
      this.#inFlight += 1
      next.start()
    }
  }

  /** What a request of this rank leaves in a bucket; only the mailbox's own has a reserve. */
  #reserve(bucket: number, rank: number): number {
    return bucket === 0 && rank >= RANK.backfill ? (this.#buckets[0]?.capacity ?? 0) * RESERVE : 0
  }

  #pumpIn(ms: number): void {
    const timer = new AbortController()
    this.#timer = timer
    this.#clock.sleep(ms, timer.signal).then(
      () => this.#pump(),
      () => undefined,
    )
  }

  /** One more in flight, and in a batch, per full round without throttling; 5 % of the pace back every 30 s. */
  #grow(): void {
    const now = this.#clock.monoMs()
    if (now - this.#grownMs < (this.#slowdown < 1 ? CLEAN_STEP_MS : 1_000)) return
    this.#grownMs = now
    this.#concurrency = Math.min(this.#max, this.#concurrency + 1)
    this.#batch = Math.min(BATCH_MAX, this.#batch + 1)
    if (this.#slowdown === 1) return
    this.#slowdown = Math.min(1, this.#slowdown + 0.05)
    this.#buckets[0]?.setShare(this.#share * this.#slowdown)
  }
}
