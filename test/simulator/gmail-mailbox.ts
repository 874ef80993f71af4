/**
 * Owns one Gmail mailbox: which mails exist with which labels, and the history of its changes.
 * Refuses HTTP and quotas. Only what a mutation touched is stored.
 */
import { mutateGmail } from './gmail-mutations.ts'
import { createGmailSeed, type GmailSeed, type GmailState, isGmailEvent } from './gmail-seed.ts'
import { mix } from './random.ts'
import type { Clock, MailboxSpec, Mutation, Overrides, Truth } from './types.ts'

export interface HistoryRecord {
  id: bigint
  atMs: number
  index: number
  type: 'messageAdded' | 'messageDeleted' | 'labelAdded' | 'labelRemoved'
  /** Labels added or removed. */
  changed: readonly string[]
  /** Labels of the mail after the change. */
  labels: readonly string[]
}

const HISTORY_LIFE_MS = 7 * 86_400_000

/** The changes of a mailbox: ids grow with gaps, records older than a week are dropped. */
function createHistory(seed: GmailSeed, clock: Clock) {
  const records: HistoryRecord[] = []
  let currentId = seed.startId
  let floorId = seed.startId
  return {
    current: () => currentId,
    record: (change: Omit<HistoryRecord, 'id' | 'atMs'>): bigint => {
      currentId += BigInt(1 + (mix(seed.key, records.length, 33) % 40))
      records.push({ id: currentId, atMs: clock.now(), ...change })
      return currentId
    },
    /** Records after `start` (exclusive), or null when that is older than what is kept. */
    since: (start: bigint): readonly HistoryRecord[] | null => {
      const oldestMs = clock.now() - HISTORY_LIFE_MS
      while (records[0] && records[0].atMs < oldestMs) floorId = records.shift()?.id ?? floorId
      if (start < floorId || start > currentId) return null
      return records.slice(records.findLastIndex(({ id }) => id <= start) + 1)
    },
    /** Every id given out so far is from now on too old. */
    expire: (): void => {
      currentId += 7n
      floorId = currentId
    },
  }
}

/** The mails: seeded ones are computed, touched ones stored. */
function createMails(seed: GmailSeed, clock: Clock, record: (change: Omit<HistoryRecord, 'id' | 'atMs'>) => bigint) {
  const changed = new Map<number, GmailState>()
  let count = seed.n
  let deleted = 0
  const stateOf = (index: number): GmailState => changed.get(index) ?? seed.stateOf(index)

  return {
    stateOf,
    count: () => count,
    live: () => count - deleted,
    /** The mail if it exists and is not deleted. */
    find: (id: string): { index: number; state: GmailState } | null => {
      const index = seed.indexOf(id)
      if (index === null || index >= count) return null
      const state = stateOf(index)
      return state.deleted ? null : { index, state }
    },
    add: (labels: readonly string[], overrides: Overrides): number => {
      const index = count++
      const addedMs = clock.now()
      const historyId = record({ index, type: 'messageAdded', changed: [], labels })
      const times = { internalMs: overrides.receivedMs ?? addedMs, addedMs }
      const everEvent = isGmailEvent(labels)
      changed.set(index, { labels, ...times, historyId, everEvent, deleted: false, thread: index, overrides })
      return index
    },
    relabel: (index: number, plus: readonly string[], minus: readonly string[]): void => {
      let state = stateOf(index)
      const added = plus.filter((label) => !state.labels.includes(label))
      const removed = minus.filter((label) => state.labels.includes(label))
      if (added.length > 0) {
        const labels = [...state.labels, ...added]
        state = { ...state, labels, historyId: record({ index, type: 'labelAdded', changed: added, labels }) }
      }
      if (removed.length > 0) {
        const labels = state.labels.filter((label) => !removed.includes(label))
        state = { ...state, labels, historyId: record({ index, type: 'labelRemoved', changed: removed, labels }) }
      }
      changed.set(index, { ...state, everEvent: state.everEvent || isGmailEvent(state.labels) })
    },
    remove: (index: number): void => {
      const state = stateOf(index)
      record({ index, type: 'messageDeleted', changed: [], labels: state.labels })
      changed.set(index, { ...state, deleted: true })
      deleted++
    },
  }
}

export type GmailMailbox = ReturnType<typeof createGmailMailbox>

export function createGmailMailbox(spec: MailboxSpec, clock: Clock) {
  const seed = createGmailSeed(spec)
  const history = createHistory(seed, clock)
  const mails = createMails(seed, clock, history.record)
  const box = { ...seed, ...mails, provider: 'google' as const }
  return {
    ...box,
    historyId: history.current,
    historySince: history.since,
    expireHistory: history.expire,
    mutate: (action: Mutation): string => mutateGmail(box, action),

    /** Live mails, newest first, from index `from` downwards. */
    *newestFirst(from = mails.count() - 1): Generator<{ index: number; state: GmailState }> {
      for (let index = from; index >= 0; index--) {
        const state = mails.stateOf(index)
        if (!state.deleted) yield { index, state }
      }
    },

    truth: (): Truth => {
      const truth: Truth = { must: [], mustNot: [] }
      for (let index = 0; index < mails.count(); index++) {
        const state = mails.stateOf(index)
        if (!state.everEvent) truth.mustNot.push(seed.idOf(index))
        else if (!state.deleted && isGmailEvent(state.labels)) truth.must.push(seed.idOf(index))
      }
      return truth
    },
  }
}
