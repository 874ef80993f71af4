/** What a worker knows of its account, in memory: lanes, counts, the last fault. Status and plan read it; it does no I/O. */
import type { AccountErrorCode } from '#shared/errors.ts'
import type { LaneState } from '../base/model.ts'
import { type Audit, NO_AUDIT } from '../store/audits.ts'
import { EMPTY_QUEUE, type QueueDepth } from '../store/fetch-queue.ts'

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
  /** Lanes whose page had items that cannot be read, and how often in a row it was asked for. */
  readonly brokenPages = new Map<string, number>()
  bound = false
  /** Wall clock in ms since when this worker could have polled. */
  sinceMs = 0
  /**
   * Wall clock in ms of the last news: the mailbox was connected, mail was listed or stored, or a first walk brought a page.
   * Polls become seldom with the time since. 0 = no news known.
   */
  newsMs = 0
  /** When the mailbox was last polled at rest, which no lane says; epoch ms, 0 = not since the lanes were stored. */
  polledAtRestMs = 0
  address: string | null = null
  stored = 0
  /** As the provider estimates; null = unknown. */
  estimate: number | null = null
  queue: QueueDepth = EMPTY_QUEUE
  /** By lane; '' = of the whole account. Replaced, never changed, so that a page that is rolled back can restore it. */
  faults: ReadonlyMap<string, Fault> = new Map()
  throttledUntilMs = 0
  ended: 'needs_reauth' | 'paused' | null = null
  syncCursor: string | null = null
  /** Replaced, never changed, like the faults. */
  audit: Audit = NO_AUDIT
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

  /** What status shows: the account's own fault, else the one that a lane has met most often in a row. */
  get fault(): Fault | null {
    const worst = [...this.faults.values()].toSorted((a, b) => b.count - a.count || b.atMs - a.atMs)[0]
    return this.faults.get('') ?? worst ?? null
  }

  /** @param lane null = the whole account. */
  failed(code: AccountErrorCode, lane: string | null, nowMs: number, retryAtMs: number | null): void {
    const before = this.faults.get(lane ?? '')
    const count = before?.code === code ? before.count + 1 : 1
    this.faults = new Map([...this.faults, [lane ?? '', { code, atMs: nowMs, retryAtMs, count }]])
  }

  /**
   * A page of the lane was stored: its fault is over, and so are the account's, a full disk, and those of lanes that are
   * not asked any more. An announced pause goes on.
   */
  succeeded(lane: string, asked: (lane: string) => boolean, nowMs: number): void {
    const goesOn = ([of, { code }]: [string, Fault]): boolean =>
      of === '' ? this.throttledUntilMs > nowMs : of !== lane && code !== 'DISK_FULL' && asked(of)
    this.faults = new Map([...this.faults].filter(goesOn))
  }

  /** What was polled at rest is as young as that. */
  noteRest(polled: (lane: string) => boolean, nowMs: number): void {
    const atMs = Math.min(this.polledAtRestMs, nowMs)
    for (const lane of this.lanes.values())
      if (polled(lane.lane) && lane.syncedMs < atMs) this.lanes.set(lane.lane, { ...lane, syncedMs: atMs })
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

  /** The wall clock was set: what was noted by it moves along. */
  clockSet(byMs: number): void {
    const moved = (ms: number): number => (ms === 0 ? 0 : Math.max(1, ms + byMs))
    for (const lane of this.lanes.values()) {
      const { notBeforeMs, syncedMs, resetMs } = lane
      const times = { notBeforeMs: moved(notBeforeMs), syncedMs: moved(syncedMs), resetMs: moved(resetMs) }
      this.lanes.set(lane.lane, { ...lane, ...times })
    }
    this.faults = new Map(
      [...this.faults].map(([of, fault]) => [
        of,
        { ...fault, atMs: moved(fault.atMs), retryAtMs: fault.retryAtMs === null ? null : moved(fault.retryAtMs) },
      ]),
    )
    this.sinceMs = moved(this.sinceMs)
    this.newsMs = moved(this.newsMs)
    this.throttledUntilMs = moved(this.throttledUntilMs)
    const due = (ms: number | null): number | null => (ms === null ? null : moved(ms))
    const { nextAtMs, nextUrgentAtMs } = this.queue
    this.queue = { ...this.queue, nextAtMs: due(nextAtMs), nextUrgentAtMs: due(nextUrgentAtMs) }
    this.#samples.length = 0
  }

  lastSyncedMs(): number {
    return Math.max(0, ...[...this.lanes.values()].map((lane) => lane.syncedMs))
  }
}
