/** The requests that are being answered: how many there may be at the same time, and a stop waits for them. */
import { AppError } from '#shared/errors.ts'
import type { Log } from '#shared/log.ts'
import { answer, type EndpointSpec, type EndpointStats, type OpenSpec, type Request } from './endpoint.ts'

/** What is beyond the bound is refused before its token is looked at. */
const BUSY: OpenSpec = {
  operation: null,
  handleAny: async () => {
    throw new AppError('RATE_LIMITED', { busy: true, retry_after_s: 1 })
  },
}

export class UnderWay {
  readonly #max: number
  readonly #tasks = new Set<Promise<void>>()

  constructor(max: number) {
    this.#max = max
  }

  /** Answers one request, RATE_LIMITED when too many are under way. */
  answer(msg: Request, spec: EndpointSpec, stats: EndpointStats, log: Log): void {
    // Whoever asks about no user wants to see the trouble, or to end it.
    const isRefused = this.#tasks.size >= this.#max && !('handleAny' in spec)
    const task = answer(msg, isRefused ? BUSY : spec, stats, log)
    this.#tasks.add(task)
    void task.finally(() => this.#tasks.delete(task))
  }

  async settled(): Promise<void> {
    await Promise.allSettled([...this.#tasks])
  }
}
