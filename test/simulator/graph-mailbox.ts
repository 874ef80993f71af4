/**
 * Owns one Graph mailbox: which mails lie in which folder, and the log of changes that deltas are cut from.
 * Refuses HTTP, tokens and sync state. Seeded mails are computed; only what a mutation touched is stored.
 */
import { type Content, contentOf, DEFAULT_MIX, type Kind, kindOf, mailboxKey, seededTimeMs } from './content.ts'
import { createFolderTree, type Folder } from './graph-folders.ts'
import { graphIds } from './graph-ids.ts'
import { mutateGraph } from './graph-mutations.ts'
import { mix } from './random.ts'
import type { Clock, MailboxSpec, Mix, Mutation, Overrides, Truth } from './types.ts'

export interface GraphState {
  folder: number
  /** Grows with each move; part of the default id. */
  moves: number
  isRead: boolean
  isDraft: boolean
  categories: readonly string[]
  receivedMs: number
  /** When it came into the mailbox; null for seeded mail. */
  addedMs: number | null
  version: number
  everEvent: boolean
  deleted: boolean
  overrides?: Overrides
}

/** What happened, as one folder sees it. The position in the log + 1 is its sequence. */
export type Change =
  | { kind: 'created' | 'updated'; index: number; folder: number }
  | { kind: 'removed'; index: number; folder: number; moves: number; reason: 'deleted' | 'changed' }
  | { kind: 'folder'; index: number }

export type GraphMailbox = ReturnType<typeof createGraphMailbox>

const FOLDER_OF: Record<Exclude<Kind, 'inbox'>, string> = {
  archived: 'archive',
  sent: 'sentitems',
  draft: 'drafts',
  spam: 'junkemail',
  trash: 'deleteditems',
  chat: 'conversationhistory',
}

export function createGraphMailbox(spec: MailboxSpec, clock: Clock) {
  const key = mailboxKey(spec.seed ?? 1, 'microsoft', spec.user)
  const share: Mix = { ...DEFAULT_MIX, ...spec.mix }
  const address = `${spec.user}@outlook.example`
  const source = { key, share, owner: { name: 'Owner Of Mailbox', address } }
  const changed = new Map<number, GraphState>()
  const log: Change[] = []
  const logFolder = (index: number) => log.push({ kind: 'folder', index })
  const folders = createFolderTree(key, spec.folders ?? ['Projects', 'Projects/Älpha', 'deleteditems/Old'], logFolder)
  const counts = new Map<number, number>()
  let counted = false
  let count = spec.n

  const known = Object.fromEntries(folders.live().map((folder) => [folder.wellKnown ?? '', folder.index]))

  const seededFolder = (kind: Kind, i: number): number => {
    const hash = mix(key, i, 50)
    const inbox = known.inbox ?? 0
    if (kind === 'inbox')
      return hash % 4 === 0 ? (folders.own[(hash >>> 4) % Math.max(1, folders.own.length)]?.index ?? inbox) : inbox
    if (kind === 'chat' && hash % 2 === 0) return known.conflicts ?? inbox
    return known[FOLDER_OF[kind]] ?? inbox
  }

  const stateOf = (i: number): GraphState => {
    const stored = changed.get(i)
    if (stored) return stored
    const kind = kindOf(key, i, share)
    const folder = seededFolder(kind, i)
    const hash = mix(key, i, 51)
    return {
      folder,
      moves: 0,
      isRead: hash % 3 !== 0,
      isDraft: kind === 'draft',
      categories: hash % 10 === 0 ? ['Blue category'] : [],
      receivedMs: seededTimeMs(key, i),
      addedMs: null,
      version: 0,
      everEvent: folders.isEvent(folder),
      deleted: false,
    }
  }

  const countAll = (): Map<number, number> => {
    if (!counted) {
      for (let i = 0; i < count; i++) {
        const { folder, deleted } = stateOf(i)
        if (!deleted) counts.set(folder, (counts.get(folder) ?? 0) + 1)
      }
      counted = true
    }
    return counts
  }

  const isEvent = (state: GraphState) => !state.deleted && !state.isDraft && folders.isEvent(state.folder)

  const put = (index: number, state: GraphState): void => {
    const before = index < count ? stateOf(index) : null
    const after = { ...state, everEvent: state.everEvent || isEvent(state) }
    if (counted) {
      if (before && !before.deleted) counts.set(before.folder, (counts.get(before.folder) ?? 0) - 1)
      if (!after.deleted) counts.set(after.folder, (counts.get(after.folder) ?? 0) + 1)
    }
    changed.set(index, after)
  }

  const find = (id: string): { index: number; state: GraphState } | null => {
    const parsed = graphIds.parse(key, id)
    if (!parsed || parsed.kind === 'folder' || parsed.index >= count) return null
    const state = stateOf(parsed.index)
    if (state.deleted || (parsed.moves !== null && parsed.moves !== state.moves)) return null
    return { index: parsed.index, state }
  }

  const add = (folder: Folder, isDraft: boolean, overrides: Overrides): number => {
    const atMs = clock.now()
    const state = { folder: folder.index, moves: 0, isRead: false, isDraft, categories: [], version: 1, overrides }
    put(count, { ...state, receivedMs: overrides.receivedMs ?? atMs, addedMs: atMs, everEvent: false, deleted: false })
    log.push({ kind: 'created', index: count, folder: folder.index })
    return count++
  }

  const update = (index: number, change: Partial<GraphState>): void => {
    const state = stateOf(index)
    put(index, { ...state, ...change, version: state.version + 1 })
    log.push({ kind: 'updated', index, folder: state.folder })
  }

  const leave = (index: number, state: GraphState, reason: 'deleted' | 'changed'): void => {
    log.push({ kind: 'removed', index, folder: state.folder, moves: state.moves, reason })
  }

  /** A move is a removal in the old folder and a creation in the new one, in either order. */
  const move = (index: number, to: Folder, change: Partial<GraphState> = {}): void => {
    const state = stateOf(index)
    if (state.folder === to.index) {
      update(index, change)
      return
    }
    const turn = mix(key, index, state.moves) % 2
    if (turn === 0) leave(index, state, 'deleted')
    put(index, { ...state, ...change, folder: to.index, moves: state.moves + 1, version: state.version + 1 })
    log.push({ kind: 'created', index, folder: to.index })
    if (turn === 1) leave(index, state, 'changed')
  }

  const remove = (index: number): void => {
    const state = stateOf(index)
    leave(index, state, 'deleted')
    put(index, { ...state, deleted: true })
  }

  /** Mails of a folder, newest first, from index `from` downwards. */
  function* newestFirst(folder: number, from = count - 1): Generator<{ index: number; state: GraphState }> {
    for (let index = from; index >= 0; index--) {
      const state = stateOf(index)
      if (!state.deleted && state.folder === folder) yield { index, state }
    }
  }

  /** Marks what lies in a folder as seen before the folder itself changes its place. */
  const keepEvents = (folder: number): void => {
    for (const { index, state } of newestFirst(folder)) if (state.everEvent) changed.set(index, state)
  }

  const box = {
    user: spec.user,
    provider: 'microsoft' as const,
    address,
    key,
    folders,
    log: log as readonly Change[],
    find,
    stateOf,
    add,
    update,
    move,
    remove,
    newestFirst,
    keepEvents,
    logFolder,
    truthId: (index: number) => graphIds.immutable(key, index),
    idOf: (index: number, moves: number, immutable: boolean) =>
      immutable ? graphIds.immutable(key, index) : graphIds.mutable(key, index, moves),
    totalOf: (folder: number) => countAll().get(folder) ?? 0,
    contentOf: (index: number, state: GraphState): Content => {
      const own = state.folder === known.sentitems ? 'sent' : 'inbox'
      const kind = state.isDraft ? 'draft' : state.addedMs === null ? kindOf(key, index, share) : own
      return contentOf(source, index, kind, state.overrides)
    },
    truth: (): Truth => {
      const truth: Truth = { must: [], mustNot: [] }
      for (let i = 0; i < count; i++) {
        const state = stateOf(i)
        if (isEvent(state)) truth.must.push(graphIds.immutable(key, i))
        else if (!state.everEvent) truth.mustNot.push(graphIds.immutable(key, i))
      }
      return truth
    },
  }
  return { ...box, mutate: (action: Mutation): string => mutateGraph(box, action) }
}
