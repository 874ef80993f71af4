/**
 * Pauses that a provider has announced for a mailbox, by account and by mailbox: for those who have no part in its
 * limiter, such as a connect, and for its next limiter. In memory only; it never waits.
 */
import { lru } from '#shared/lru.ts'
import { type AccountRef, accountName } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { TokenBucket } from '../sync/limiter.ts'

const KEYS_MAX = 20_000

export type Mailbox = {
  account: AccountRef
  /** The mailbox that the account is bound to, as far as it is known now. */
  mailbox(): string | null
}

export class Pauses {
  readonly #clock: Clock
  readonly #untilMs = lru<number>(KEYS_MAX)

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A bucket whose pauses are noted here; it starts in the one that holds now. */
  bucket(capacity: number, ratePerMs: number, of: Mailbox): TokenBucket {
    const bucket = new NotedBucket(capacity, ratePerMs, this.#clock, (ms) => this.#note(of, ms))
    const leftMs = this.leftMs(of)
    if (leftMs > 0) bucket.pause(leftMs)
    return bucket
  }

  /** What is left of the pause of an account or its mailbox. */
  leftMs(of: Mailbox): number {
    // Nearly always nobody was ever throttled, and each poll asks.
    if (this.#untilMs.size === 0) return 0
    const untilMs = Math.max(...keysOf(of).map((key) => this.#untilMs.get(key) ?? 0))
    return Math.max(0, untilMs - this.#clock.monoMs())
  }

  #note(of: Mailbox, ms: number): void {
    const untilMs = this.#clock.monoMs() + ms
    for (const key of keysOf(of)) this.#untilMs.set(key, Math.max(untilMs, this.#untilMs.get(key) ?? 0))
  }
}

class NotedBucket extends TokenBucket {
  readonly #paused: (ms: number) => void
  constructor(capacity: number, ratePerMs: number, clock: Clock, paused: (ms: number) => void) {
    super(capacity, ratePerMs, clock)
    this.#paused = paused
  }
  override pause(ms: number): void {
    super.pause(ms)
    this.#paused(ms)
  }
}

function keysOf({ account, mailbox }: Mailbox): string[] {
  const bound = mailbox()
  return bound === null ? [accountName(account)] : [accountName(account), `${account.provider}/${bound}`]
}
