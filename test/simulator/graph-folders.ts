/** Owns the folder tree of a Graph mailbox and which folders hold no events. Refuses to know mails. */
import { graphIds } from './graph-ids.ts'

export interface Folder {
  index: number
  id: string
  displayName: string
  wellKnown: string | null
  parent: number | null
  deleted: boolean
}

const WELL_KNOWN = [
  ['inbox', 'Inbox'],
  ['sentitems', 'Sent Items'],
  ['drafts', 'Drafts'],
  ['archive', 'Archive'],
  ['junkemail', 'Junk Email'],
  ['deleteditems', 'Deleted Items'],
  ['outbox', 'Outbox'],
  ['conversationhistory', 'Conversation History'],
  ['syncissues', 'Sync Issues'],
  ['syncissues/conflicts', 'Conflicts'],
] as const
const NOT_EVENTS = new Set(['drafts', 'outbox', 'junkemail', 'deleteditems', 'conversationhistory', 'syncissues'])
const ROOT = 0xffff

export type FolderTree = ReturnType<typeof createFolderTree>

/** `onAdd` hears of every folder that comes into being. */
export function createFolderTree(key: number, paths: readonly string[], onAdd: (index: number) => void) {
  const folders: Folder[] = []
  const rootId = graphIds.folder(key, ROOT)

  const add = (displayName: string, wellKnown: string | null, parent: number | null): Folder => {
    const index = folders.length
    const folder = { index, id: graphIds.folder(key, index), displayName, wellKnown, parent, deleted: false }
    folders.push(folder)
    onAdd(index)
    return folder
  }

  const find = (name: string): Folder | null =>
    folders.find((folder) => !folder.deleted && (folder.id === name || folder.wellKnown === name.toLowerCase())) ?? null

  const child = (parent: number | null, displayName: string): Folder =>
    folders.find((one) => !one.deleted && one.parent === parent && one.displayName === displayName) ??
    add(displayName, null, parent)

  /** Walks or makes the folders of a path; its first part may be a well-known name. */
  const ensure = (path: string): Folder => {
    const known = find(path)
    if (known) return known
    const [first = '', ...rest] = path.split('/')
    let at = find(first) ?? child(null, first)
    for (const part of rest) at = child(at.index, part)
    return at
  }

  for (const [name, display] of WELL_KNOWN) {
    const parent = name.includes('/') ? (find(name.split('/')[0] ?? '')?.index ?? null) : null
    add(display, name.split('/').at(-1) ?? name, parent)
  }
  const own = paths.map(ensure)

  const isEvent = (index: number | null): boolean => {
    for (let folder = index === null ? undefined : folders[index]; folder; ) {
      if (folder.deleted || (folder.wellKnown && NOT_EVENTS.has(folder.wellKnown))) return false
      folder = folder.parent === null ? undefined : folders[folder.parent]
    }
    return true
  }

  return {
    /** Folders that the mailbox was made with, not the well-known ones. */
    own,
    find,
    ensure,
    isEvent,
    rootId,
    at: (index: number): Folder | undefined => folders[index],
    live: () => folders.filter((folder) => !folder.deleted),
    parentId: (folder: Folder) => (folder.parent === null ? rootId : graphIds.folder(key, folder.parent)),
  }
}
