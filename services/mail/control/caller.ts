/** Calls of the thread that answers requests to the one that works, and the answers to them. */
import { AppError } from '#shared/errors.ts'
import type { CallName, Calls, FromThread, ToThread } from './calls.ts'

/** Longer than any operation waits: it ends only what the other thread has forgotten. */
const DEADLINE_MS = 120_000

type Waiting = { settle(outcome: { value: unknown } | AppError): void }
type Answer = Extract<ToThread, { kind: 'result' | 'fault' }>

export class Caller {
  readonly #post: (message: FromThread) => void
  /** Bound: the requests under way, and the users of `RecentStatus`. */
  readonly #waiting = new Map<number, Waiting>()
  #last = 0

  constructor(post: (message: FromThread) => void) {
    this.#post = post
  }

  /** @throws AppError: the handler's, TIMEOUT when there is no answer */
  async call<N extends CallName>(name: N, ...args: Parameters<Calls[N]>): Promise<Awaited<ReturnType<Calls[N]>>> {
    const id = ++this.#last
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const late = setTimeout(() => this.#waiting.get(id)?.settle(new AppError('TIMEOUT')), DEADLINE_MS)
    const settle: Waiting['settle'] = (outcome) => {
      clearTimeout(late)
      this.#waiting.delete(id)
      if (outcome instanceof AppError) reject(outcome)
      else resolve(outcome.value)
    }
    this.#waiting.set(id, { settle })
    try {
      this.#post({ kind: 'call', id, name, args })
    } catch (error) {
      settle(new AppError('INTERNAL', {}, { cause: error }))
    }
    // What the handler has made is copied, not changed.
    return (await promise) as Awaited<ReturnType<Calls[N]>>
  }

  answered(answer: Answer): void {
    const outcome = answer.kind === 'result' ? { value: answer.value } : new AppError(answer.code, answer.details)
    this.#waiting.get(answer.id)?.settle(outcome)
  }
}
