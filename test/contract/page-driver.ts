/**
 * The least a worker must do to drive an adapter: lanes, a queue and stored ids in memory, one commit per page. What it
 * holds between two pages survives JSON, as it would in a database. It refuses to pace, to retry and to hide errors.
 */

import PQueue from 'p-queue'
import { Secret } from '#shared/secret.ts'
import type { MessageMeta } from '../../services/mail/base/model.ts'
import {
  type Call,
  type Limiter,
  type MailProvider,
  type Page,
  type PageRequest,
  ProviderError,
} from '../../services/mail/provider/provider.ts'

/** Fewer than a take, so that each of more than these has several batches. */
const BATCH = 10

/** Turns in order of arrival, at most `concurrency` at once. */
export function plainLimiter(concurrency: number): Limiter {
  const queue = new PQueue({ concurrency })
  return {
    batchSize: () => BATCH,
    pausedMs: 0,
    refused: () => undefined,
    run: (_cost, _priority, signal, request) => {
      const turn = queue.add(() => request(signal), { signal })
      return turn
    },
  }
}

type State = {
  lanes: Record<string, { cursor: string | null; done: boolean }>
  queue: string[]
  aside: Record<string, string>
  /** Of the queue: ids that were set aside before. */
  retried: string[]
  stored: string[]
  syncCursor: string | null
  totalEstimate: number | null
}

export type Driver = ReturnType<typeof createDriver>

/** @param make called before each page: an adapter must not remember anything. */
export function createDriver(make: () => MailProvider, accessToken: string) {
  const { firstLane } = make()
  let state: State = {
    lanes: { [firstLane]: { cursor: null, done: false } },
    queue: [],
    aside: {},
    retried: [],
    stored: [],
    syncCursor: null,
    totalEstimate: null,
  }
  const emitted: MessageMeta[] = []
  const seen = { pages: 0, gone: 0, throttled: 0, skipped: 0, passes: 0, unproven: 0, listed: new Set<string>() }
  const secret = new Secret(accessToken)
  const limiter = plainLimiter(3)
  const live = { signal: new AbortController().signal, fetchesNew: false }

  const call = (): Call => ({ accessToken: secret, limiter, priority: 'backfill', signal: live.signal })
  const requestOf = (lane: string): PageRequest => ({
    lane,
    cursor: state.lanes[lane]?.cursor ?? null,
    take: state.queue.slice(0, make().takes(lane)),
    retried: new Set(state.retried),
    known: (ids) => new Set(ids.filter((id) => state.stored.includes(id))),
    published: (ids) => new Set(ids.filter((id) => state.stored.includes(id))),
    queued: (ids) => new Set(ids.filter((id) => state.queue.includes(id) || id in state.aside)),
    cursorOf: (other) => state.lanes[other]?.cursor,
    accountAnswers: false,
    fetchesNew: live.fetchesNew && state.queue.length === 0,
    hurries: () => false,
  })

  /** Asks for a page and commits nothing. */
  const ask = (lane: string): Promise<Page> => make().page(requestOf(lane), call())

  const commit = (page: Page): void => {
    const next: State = structuredClone(state)
    for (const meta of page.messages) {
      if (!next.stored.includes(meta.id)) {
        next.stored.push(meta.id)
        emitted.push(meta)
      }
    }
    const leaves = new Set([...page.messages.map(({ id }) => id), ...page.drop, ...page.failed.map(({ id }) => id)])
    for (const id of leaves) delete next.aside[id]
    for (const { id, reason } of page.failed) next.aside[id] = reason
    const { ids, urgent } = page.enqueue
    const kept = next.queue.filter((id) => !leaves.has(id) && !(urgent && ids.includes(id)))
    for (const id of ids) delete next.aside[id]
    next.queue = urgent ? [...ids, ...kept] : [...kept, ...ids]
    for (const { lane, cursor, done } of page.lanes) next.lanes[lane] = { cursor, done }
    for (const lane of page.dropLanes) delete next.lanes[lane]
    next.syncCursor = page.syncCursor ?? next.syncCursor
    if (page.totalEstimate !== undefined) next.totalEstimate = page.totalEstimate
    state = JSON.parse(JSON.stringify(next))
    for (const id of page.listed?.ids ?? []) seen.listed.add(id)
    seen.passes = Math.max(seen.passes, page.listed?.pass ?? 0)
    if (page.unproven === true) seen.unproven++
    seen.pages++
    seen.skipped += page.skipped
    if (page.cutOff instanceof ProviderError && page.cutOff.kind === 'throttled') seen.throttled++
  }

  /** One page of a lane, committed. A forgotten position restarts the lane. */
  const step = async (lane: string): Promise<void> => {
    try {
      commit(await ask(lane))
    } catch (error) {
      if (!(error instanceof ProviderError) || error.kind !== 'gone') throw error
      seen.gone++
      state.lanes[lane] = { cursor: error.facts.restartCursor ?? null, done: false }
    }
  }

  const nextLane = (): string | undefined =>
    Object.entries(state.lanes).find(([lane, { done }]) =>
      make().takes(lane) > 0 ? state.queue.length > 0 : !done,
    )?.[0]

  return {
    ask,
    commit,
    step,
    nextLane,
    emitted,
    seen,
    state: () => state,
    call,
    /** Pages until nothing is left; `before` runs in front of each. */
    async run(before: (lane: string) => Promise<void> | void = () => undefined): Promise<void> {
      for (let pages = 0; pages < 5_000; pages++) {
        const lane = nextLane()
        if (lane === undefined) return
        await before(lane)
        if (lane in state.lanes) await step(lane)
      }
      throw new Error('the adapter does not come to an end')
    },
    /** The disk is lost: nothing is stored here, all of it was published, and everything is fetched once more. */
    loseRows(): string[] {
      const lost = state.stored
      state.stored = []
      emitted.length = 0
      for (const lane of make().refillLanes(Object.keys(state.lanes))) state.lanes[lane] = { cursor: null, done: false }
      return lost
    },
    /** An audit begins of what is stored. */
    audit(): void {
      for (const lane of make().auditLanes(Object.keys(state.lanes))) state.lanes[lane] = { cursor: null, done: false }
    },
    /** From here on pages may bring the few mails that they name. */
    fetchNew(): void {
      live.fetchesNew = true
    },
    /** These are stored, and no others. */
    have(ids: readonly string[]): void {
      state.stored = [...ids]
      emitted.length = 0
    },
    /** The next interval: polled lanes are asked again, messages set aside are due again. */
    async poll(): Promise<void> {
      this.interval()
      await this.run()
    },
    interval(): void {
      const provider = make()
      for (const [lane, entry] of Object.entries(state.lanes)) if (provider.polled(lane)) entry.done = false
      state.retried = Object.keys(state.aside)
      state.queue.push(...state.retried)
      state.aside = {}
    },
  }
}
