/** What a worker knows of its account, in memory: lanes, counts, the last fault. Status and plan read it; it does no I/O. */
import type { AccountErrorCode } from '#shared/errors.ts'
import type { LaneState } from '../base/model.ts'
import type { QueueDepth } from '../store/fetch-queue.ts'

/** Rate and ETA are measured over this much of the past. */
const RATE_WINDOW_MS = 20_000
const RATE_SAMPLES_MAX = 256

export type Fault = {
  code: AccountErrorCode
  atMs: number
  /** Wall clock in ms; null = not by itself. */
  retryAtMs: number | null
  /** How often in a row. */
  count: number
}

export class AccountState {
  readonly lanes = new Map<string, LaneState>()
  /** Done lanes whose last page said that there is more. */
  readonly more = new Set<string>()
  bound = false
  /** Wall clock in ms since when this worker could have polled. */
  sinceMs = 0
  address: string | null = null
  stored = 0
  /** As the provider estimates; null = unknown. */
  estimate: number | null = null
  queue: QueueDepth = { entries: 0, waiting: 0, urgent: 0, setAside: 0, nextAtMs: null }
  fault: Fault | null = null
  /** Lane whose fault it is; null = the whole account. */
  faultLane: string | null = null
  throttledUntilMs = 0
  ended: 'needs_reauth' | 'paused' | null = null
  syncCursor: string | null = null
  readonly #samples: { atMs: number; stored: number }[] = []

  /** Notes progress, for the rate. */
  progressed(nowMs: number): void {
    this.#samples.push({ atMs: nowMs, stored: this.stored })
    while (this.#samples.length > RATE_SAMPLES_MAX) this.#samples.shift()
  }

  /** Messages stored per second over the last 20 s; null before there are two samples. */
  ratePerS(nowMs: number): number | null {
    const recent = this.#samples.filter((sample) => nowMs - sample.atMs <= RATE_WINDOW_MS)
    const [first] = recent
    const last = recent.at(-1)
    if (first === undefined || last === undefined || last.atMs === first.atMs) return null
    return Math.round(((last.stored - first.stored) / (last.atMs - first.atMs)) * 10_000) / 10
  }

  failed(code: AccountErrorCode, lane: string | null, nowMs: number, retryAtMs: number | null): void {
    const count = this.fault?.code === code ? this.fault.count + 1 : 1
    this.fault = { code, atMs: nowMs, retryAtMs, count }
    this.faultLane = lane
  }

  /**
   * A page of the lane came through: its fault is over, others' are not.
   * @param asked false for a lane that is not asked any more, whose fault would otherwise last for ever.
   */
  succeeded(lane: string, asked: (lane: string) => boolean): void {
    if (this.faultLane !== null && this.faultLane !== lane && asked(this.faultLane)) return
    this.fault = null
    this.faultLane = null
  }

  /** The oldest last good poll over all lanes that are polled; null before each has had one. */
  oldestPollMs(polled: (lane: string) => boolean): number | null {
    let oldest: number | null = null
    for (const lane of this.lanes.values()) {
      if (!polled(lane.lane)) continue
      if (lane.syncedMs === 0) return null
      oldest = oldest === null ? lane.syncedMs : Math.min(oldest, lane.syncedMs)
    }
    return oldest
  }

  lastSyncedMs(): number {
    return Math.max(0, ...[...this.lanes.values()].map((lane) => lane.syncedMs))
  }
}
