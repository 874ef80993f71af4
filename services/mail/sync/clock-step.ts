/** Tells a wall clock that was set from one that only ran, by the monotonic one beside it. */
import type { Clock } from '../base/time.ts'

/** Smaller differences are the two clocks' own, or two instances'. */
export const STEP_MIN_MS = 1_000

export class ClockStep {
  readonly #clock: Clock
  #differenceMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#differenceMs = clock.wallMs() - clock.monoMs()
  }

  /** By how much the wall clock was set since the last look, in ms; 0 = it only ran. */
  take(): number {
    const differenceMs = this.#clock.wallMs() - this.#clock.monoMs()
    const stepMs = differenceMs - this.#differenceMs
    if (Math.abs(stepMs) < STEP_MIN_MS) return 0
    this.#differenceMs = differenceMs
    return stepMs
  }
}
