/**
 * When users at rest are polled: each at its moment, a bounded number at a time, what is due first before the others. A poll is
 * no move: nothing else of the user waits for it. Held, it lets none begin.
 */
import type { Log } from '#shared/log.ts'
import { Alarms } from '../base/alarms.ts'
import type { Clock } from '../base/time.ts'

/** Nearly all of their time is the provider's. */
const POLLS_MAX = 128

export type Poller = {
  /** When its poll should begin, epoch ms; what is due first begins first. */
  readonly dueMs: number | null
  /** Begins the poll, unless it is not wanted any more. What it throws is a fault of ours. */
  poll(): Promise<void>
}

export class PollTurns {
  readonly alarms: Alarms
  readonly #log: Log
  #running = 0
  #isHeld = false
  /** Bound: one for each user at rest. The latest first, because who is next is taken from the end. */
  readonly #waiting: Poller[] = []

  constructor(clock: Clock, log: Log) {
    this.alarms = new Alarms(clock)
    this.#log = log
  }

  /** Polls when it is its turn: now, if there is room. */
  take(poller: Poller): void {
    if (!this.#isHeld && this.#running < POLLS_MAX) void this.#run(poller)
    else this.#waiting.splice(this.#placeOf(poller), 0, poller)
  }

  hold(): void {
    this.#isHeld = true
  }
  goOn(): void {
    this.#isHeld = false
    this.#next()
  }

  /** Nobody is polled any more. */
  close(): void {
    this.#waiting.length = 0
    this.alarms.close()
  }

  async #run(poller: Poller): Promise<void> {
    this.#running += 1
    try {
      await poller.poll()
    } catch (error) {
      this.#log.error({ err: error }, 'a poll of a user at rest ended in a fault')
    } finally {
      this.#running -= 1
      this.#next()
    }
  }

  #next(): void {
    while (!this.#isHeld && this.#running < POLLS_MAX) {
      const poller = this.#waiting.pop()
      if (poller === undefined) return
      void this.#run(poller)
    }
  }

  /** Before those that are due earlier, and before those that came earlier and are due at the same time. */
  #placeOf({ dueMs }: Poller): number {
    let [from, to] = [0, this.#waiting.length]
    while (from < to) {
      const middle = (from + to) >> 1
      if ((this.#waiting[middle]?.dueMs ?? 0) > (dueMs ?? 0)) from = middle + 1
      else to = middle
    }
    return from
  }
}
