/** All chance of one run, from its seed. */
import { mix } from '../simulator/random.ts'

export class Chance {
  readonly #seed: number
  #at = 0

  constructor(seed: number) {
    this.#seed = seed
  }

  /** 0 <= x < 1 */
  unit(): number {
    return mix(this.#seed, this.#at++, 0x51) / 0x1_0000_0000
  }
  /** from <= n <= to, whole. */
  whole(from: number, to: number): number {
    return from + Math.floor(this.unit() * (to - from + 1))
  }
  is(probability: number): boolean {
    return this.unit() < probability
  }
  pick<T>(list: readonly T[]): T {
    const found = list[this.whole(0, list.length - 1)]
    if (found === undefined) throw new Error('nothing to pick from')
    return found
  }
}
