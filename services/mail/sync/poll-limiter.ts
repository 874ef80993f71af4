/**
 * The limiter of one poll. The mailbox of which nobody asks for anything else has all of its quota, and the one poll takes next
 * to nothing of it: so only the bucket of the project counts, and announced pauses. Whoever has to wait, or is refused, does
 * so at a `MailboxLimiter`, which costs as much as the rest of the poll.
 */
import { type Limiter, type Priority, ProviderError, type ProviderErrorFacts } from '../provider/provider.ts'
import type { MailboxLimiter, TokenBucket } from './limiter.ts'

export class PollLimiter implements Limiter {
  readonly #pausedMs: number
  readonly #project: TokenBucket
  readonly #makeFull: () => MailboxLimiter
  #full: MailboxLimiter | null = null

  /** @param pausedMs what is left of a pause of the mailbox, now */
  constructor(pausedMs: number, project: TokenBucket, makeFull: () => MailboxLimiter) {
    this.#pausedMs = pausedMs
    this.#project = project
    this.#makeFull = makeFull
  }

  async run<T>(
    cost: number,
    priority: Priority,
    signal: AbortSignal,
    request: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (this.#full !== null || this.#project.waitMs(cost, 0) > 0)
      return await this.#orFull().run(cost, priority, signal, request)
    this.#project.take(cost)
    try {
      const answer = await request(signal)
      this.#project.served()
      return answer
    } catch (error) {
      if (error instanceof ProviderError && error.kind === 'throttled') this.refused(error.facts)
      throw error
    }
  }

  batchSize(cost: number, priority: Priority): number {
    return this.#orFull().batchSize(cost, priority)
  }
  get pausedMs(): number {
    return this.#full?.pausedMs ?? Math.max(this.#pausedMs, this.#project.pausedMs)
  }
  refused(facts: ProviderErrorFacts): void {
    this.#orFull().refused(facts)
  }

  #orFull(): MailboxLimiter {
    this.#full ??= this.#makeFull()
    return this.#full
  }
}
