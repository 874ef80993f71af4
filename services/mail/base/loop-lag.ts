/**
 * How late the event loop is, over the last half to whole minute. The figures among the default metrics begin anew
 * whenever anybody reads the metrics; whoever looks at the fleet must neither see nor make such a beginning.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { LOOP_TICK_MS } from '#shared/metrics.ts'
import { type Clock, pause } from './time.ts'

const HALF_MS = 30_000

export class LoopLag {
  /** Begins anew when it has seen a minute; then the other one is the older. */
  #older = monitorEventLoopDelay({ resolution: LOOP_TICK_MS })
  #younger = monitorEventLoopDelay({ resolution: LOOP_TICK_MS })

  /** Measures until the signal aborts. */
  async run(clock: Clock, signal: AbortSignal): Promise<void> {
    const both = [this.#older, this.#younger]
    for (const histogram of both) histogram.enable()
    while (!signal.aborted) {
      await pause(clock, HALF_MS, signal)
      this.#older.reset()
      ;[this.#older, this.#younger] = [this.#younger, this.#older]
    }
    for (const histogram of both) histogram.disable()
  }

  /** Milliseconds. */
  figures(): { p50: number; p99: number; max: number } {
    const { max } = this.#older
    return { p50: late(this.#older.percentile(50)), p99: late(this.#older.percentile(99)), max: late(max) }
  }
}

const late = (distanceNs: number): number => Math.max(0, Math.round((distanceNs / 1e6 - LOOP_TICK_MS) * 10) / 10)
