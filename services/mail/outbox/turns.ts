/** At most so many are at work at the same time; the others wait, in the order in which they came. */
export class Turns {
  #free: number
  /** Bound: whoever takes turns waits for one at a time. */
  readonly #waiting: (() => void)[] = []

  constructor(atOnce: number) {
    this.#free = atOnce
  }

  /** Whether somebody waits for a turn: who has one should not make it a long one. */
  get areWanted(): boolean {
    return this.#waiting.length > 0
  }

  /** Runs the work, at once where a turn is free. @throws what the work throws */
  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}
