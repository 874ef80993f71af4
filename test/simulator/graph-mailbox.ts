/**
 * Owns one Graph mailbox: which mails lie in which folder, and the log of changes that deltas are cut from.
 * Refuses HTTP, tokens and sync state. Only what a mutation touched is stored.
 */
import type { Folder } from './graph-folders.ts'
import { graphIds } from './graph-ids.ts'
import { mutateGraph } from './graph-mutations.ts'
import { createGraphSeed, type GraphSeed, type GraphState } from './graph-seed.ts'
import { mix } from './random.ts'
import type { Clock, MailboxSpec, Mutation, Overrides, Truth } from './types.ts'

/** What happened, as one folder sees it. The position in the log + 1 is its sequence. */
export type Change =
  | { kind: 'created' | 'updated'; index: number; folder: number }
  | { kind: 'removed'; index: number; folder: number; moves: number; reason: 'deleted' | 'changed' }
  | { kind: 'folder'; index: number }

const isEvent = (seed: GraphSeed, state: GraphState) =>
  !state.deleted && !state.isDraft && seed.folders.isEvent(state.folder)

/** The mails: seeded ones are computed, touched ones stored; `totalOf` counts a folder at its first use. */
function createStore(seed: GraphSeed) {
  const changed = new Map<number, GraphState>()
  const counts = new Map<number, number>()
  let counted = false
  let count = seed.n
  const stateOf = (index: number): GraphState => changed.get(index) ?? seed.stateOf(index)
  const tally = (state: GraphState | null, step: number): void => {
    if (state && !state.deleted) counts.set(state.folder, (counts.get(state.folder) ?? 0) + step)
  }

  return {
    stateOf,
    count: () => count,
    put: (index: number, state: GraphState): void => {
      if (counted) {
        tally(index < count ? stateOf(index) : null, -1)
        tally(state, 1)
      }
      changed.set(index, { ...state, everEvent: state.everEvent || isEvent(seed, state) })
      count = Math.max(count, index + 1)
    },
    totalOf: (folder: number): number => {
      if (!counted) for (let index = 0; index < count; index++) tally(stateOf(index), 1)
      counted = true
      return counts.get(folder) ?? 0
    },
    /** The mail if it exists under this id; a default id from before a move is unknown. */
    find: (id: string): { index: number; state: GraphState } | null => {
      const parsed = graphIds.parse(seed.key, id)
      if (!parsed || parsed.kind === 'folder' || parsed.index >= count) return null
      const state = stateOf(parsed.index)
      const known = !state.deleted && (parsed.moves === null || parsed.moves === state.moves)
      return known ? { index: parsed.index, state } : null
    },
    /** Mails of a folder, newest first, from index `from` downwards. */
    *newestFirst(folder: number, from = count - 1): Generator<{ index: number; state: GraphState }> {
      for (let index = Math.min(from, count - 1); index >= 0; index--) {
        const state = stateOf(index)
        if (!state.deleted && state.folder === folder) yield { index, state }
      }
    },
    truth: (): Truth => {
      const truth: Truth = { must: [], mustNot: [] }
      for (let index = 0; index < count; index++) {
        const state = stateOf(index)
        if (isEvent(seed, state)) truth.must.push(seed.truthId(index))
        else if (!state.everEvent) truth.mustNot.push(seed.truthId(index))
      }
      return truth
    },
  }
}

/** The changes that can happen, each with its entries in the log. */
function createChanges(seed: GraphSeed, store: ReturnType<typeof createStore>, log: Change[], clock: Clock) {
  const update = (index: number, change: Partial<GraphState>): void => {
    const state = store.stateOf(index)
    store.put(index, { ...state, ...change, version: state.version + 1 })
    log.push({ kind: 'updated', index, folder: state.folder })
  }
  const leave = (index: number, { folder, moves }: GraphState, reason: 'deleted' | 'changed'): void => {
    log.push({ kind: 'removed', index, folder, moves, reason })
  }
  return {
    update,
    add: (folder: Folder, isDraft: boolean, overrides: Overrides): number => {
      const index = store.count()
      const addedMs = clock.now()
      const place = { folder: folder.index, moves: 0, version: 1, everEvent: false, deleted: false }
      const times = { receivedMs: overrides.receivedMs ?? addedMs, addedMs }
      store.put(index, { ...place, ...times, isRead: false, isDraft, categories: [], overrides })
      log.push({ kind: 'created', index, folder: folder.index })
      return index
    },
    /** A move is a removal in the old folder and a creation in the new one, in either order. */
    move: (index: number, to: Folder, change: Partial<GraphState> = {}): void => {
      const state = store.stateOf(index)
      if (state.folder === to.index) {
        update(index, change)
        return
      }
      const removedFirst = mix(seed.key, index, state.moves) % 2 === 0
      if (removedFirst) leave(index, state, 'deleted')
      const moved = { folder: to.index, moves: state.moves + 1, version: state.version + 1 }
      store.put(index, { ...state, ...change, ...moved })
      log.push({ kind: 'created', index, folder: to.index })
      if (!removedFirst) leave(index, state, 'changed')
    },
    remove: (index: number): void => {
      const state = store.stateOf(index)
      leave(index, state, 'deleted')
      store.put(index, { ...state, deleted: true })
    },
    /** Notes what lies in a folder as seen, before the folder itself changes its place. */
    keepEvents: (folder: number): void => {
      for (const { index, state } of store.newestFirst(folder)) if (state.everEvent) store.put(index, state)
    },
  }
}

export type GraphMailbox = ReturnType<typeof createGraphMailbox>

export function createGraphMailbox(spec: MailboxSpec, clock: Clock) {
  const log: Change[] = []
  const logFolder = (index: number) => log.push({ kind: 'folder', index })
  const seed = createGraphSeed(spec, logFolder)
  const store = createStore(seed)
  const box = {
    ...seed,
    ...store,
    ...createChanges(seed, store, log, clock),
    logFolder,
    provider: 'microsoft' as const,
  }
  return { ...box, log: log as readonly Change[], mutate: (action: Mutation): string => mutateGraph(box, action) }
}
