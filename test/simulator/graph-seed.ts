/**
 * Owns the seeded part of a Graph mailbox: folder, flags and content of mail i as pure functions.
 * Refuses state; graph-mailbox.ts lays the changes over it.
 */
import { type Content, contentOf, DEFAULT_MIX, type Kind, kindOf, mailboxKey, seededTimeMs } from './content.ts'
import { createFolderTree } from './graph-folders.ts'
import { graphIds } from './graph-ids.ts'
import { mix } from './random.ts'
import type { MailboxSpec, Mix, Overrides } from './types.ts'

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

const FOLDER_OF: Record<Exclude<Kind, 'inbox'>, string> = {
  archived: 'archive',
  sent: 'sentitems',
  draft: 'drafts',
  spam: 'junkemail',
  trash: 'deleteditems',
  chat: 'conversationhistory',
}

export type GraphSeed = ReturnType<typeof createGraphSeed>

/** `onFolder` hears of every folder that comes into being. */
export function createGraphSeed(spec: MailboxSpec, onFolder: (index: number) => void) {
  const key = mailboxKey(spec.seed ?? 1, 'microsoft', spec.user)
  const share: Mix = { ...DEFAULT_MIX, ...spec.mix }
  const address = `${spec.user}@outlook.example`
  const source = { key, share, owner: { name: 'Owner Of Mailbox', address } }
  const folders = createFolderTree(key, spec.folders ?? ['Projects', 'Projects/Älpha', 'deleteditems/Old'], onFolder)
  const known = Object.fromEntries(folders.live().map((folder) => [folder.wellKnown ?? '', folder.index]))
  const inbox = known.inbox ?? 0

  const folderOf = (kind: Kind, i: number): number => {
    const hash = mix(key, i, 50)
    const own = folders.own[(hash >>> 4) % Math.max(1, folders.own.length)]?.index
    if (kind === 'inbox') return hash % 4 === 0 ? (own ?? inbox) : inbox
    if (kind === 'chat' && hash % 2 === 0) return known.conflicts ?? inbox
    return known[FOLDER_OF[kind]] ?? inbox
  }

  return {
    key,
    address,
    folders,
    n: spec.n,
    user: spec.user,
    truthId: (index: number) => graphIds.immutable(key, index),
    idOf: (index: number, moves: number, immutable: boolean) =>
      immutable ? graphIds.immutable(key, index) : graphIds.mutable(key, index, moves),
    stateOf: (i: number): GraphState => {
      const kind = kindOf(key, i, share)
      const folder = folderOf(kind, i)
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
    },
    contentOf: (i: number, state: GraphState): Content => {
      const now: Kind = state.folder === known.sentitems ? 'sent' : 'inbox'
      const kind = state.isDraft ? 'draft' : state.addedMs === null ? kindOf(key, i, share) : now
      return contentOf(source, i, kind, state.overrides)
    },
  }
}
