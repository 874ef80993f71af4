/**
 * The folder tree of a mailbox: what a delta walk does to it, which folders hold events, what they are called. Pure: it is
 * kept in the cursor of the lane `folders` and nowhere else.
 */
import * as v from 'valibot'
import { token } from '../answer.ts'
import { readCursor } from '../cursor.ts'
import { ProviderError } from '../provider.ts'
import type { GraphFolder } from './schemas.ts'

/** Folders whose mail, and that of all folders below them, is no event. */
export const EXCLUDED = ['drafts', 'outbox', 'junkemail', 'deleteditems', 'conversationhistory', 'syncissues'] as const
/** Those of them that every mailbox has, with mail that must not get out: unsent, discarded or junk. */
export const MUST_BE_NAMED: readonly string[] = ['drafts', 'outbox', 'junkemail', 'deleteditems']
const LABELS = { inbox: 'INBOX', sentitems: 'SENT', archive: 'ARCHIVE' } as const
/** Every well-known name that means something here. */
export const WELL_KNOWN: readonly string[] = ['inbox', 'sentitems', 'archive', ...EXCLUDED]
/** A saved search shows mail of other folders once more. */
const SEARCH = 'search'

const Node = v.object({
  id: token(1024),
  parent: v.nullable(v.string()),
  name: v.string(),
  /** Well-known name, `search`, or null. */
  known: v.nullable(v.string()),
  total: v.nullable(v.number()),
})
export type FolderNode = v.InferOutput<typeof Node>
export type Tree = Map<string, FolderNode>

/**
 * `tree` is the last whole tree. While a walk is under way, `next` is what it makes of it; a walk from the start begins
 * with an empty one, so that folders which are gone are seen by their absence.
 */
const Cursor = v.object({
  link: v.nullable(token(8192)),
  tree: v.array(Node),
  next: v.nullable(v.array(Node)),
})
export type FoldersCursor = v.InferOutput<typeof Cursor>

export const readFolders = (cursor: string | null): FoldersCursor =>
  cursor === null ? { link: null, tree: [], next: [] } : readCursor(Cursor, cursor, 'graph.mailFolders.delta')

export const writeFolders = (cursor: FoldersCursor): string => JSON.stringify(cursor)
export const treeOf = (nodes: readonly FolderNode[]): Tree => new Map(nodes.map((node) => [node.id, node]))

/**
 * Applies one item of a walk. What a new folder is well known as comes from `before`, or later.
 * @throws ProviderError transient when a new folder does not say where it lies: it could be in the bin.
 */
export function applyFolder(tree: Tree, item: GraphFolder, before: Tree): void {
  if (item['@removed'] !== undefined) {
    tree.delete(item.id)
    return
  }
  const old = tree.get(item.id)
  const parent = item.parentFolderId === undefined ? old?.parent : item.parentFolderId
  if (parent === undefined) {
    throw new ProviderError('transient', { operation: 'graph.mailFolders.delta', status: 200, code: 'BAD_SHAPE' })
  }
  const isSearch = /mailSearchFolder$/i.test(item['@odata.type'] ?? '')
  tree.set(item.id, {
    id: item.id,
    parent,
    name: item.displayName ?? old?.name ?? '',
    known: isSearch ? SEARCH : (old?.known ?? before.get(item.id)?.known ?? null),
    total: item.totalItemCount ?? old?.total ?? null,
  })
}

const UNLISTED = 'unlisted folder'

/** Well-known name of what keeps the mail of a folder out, which may be a folder above it; null = nothing does. */
export function excludedBy(tree: Tree, id: string): string | null {
  const seen = new Set<string>()
  let at = tree.get(id)
  if (at === undefined) return UNLISTED
  while (at !== undefined && !seen.has(at.id)) {
    const { known } = at
    if (known !== null && (known === SEARCH || EXCLUDED.some((name) => name === known))) return known
    seen.add(at.id)
    at = at.parent === null ? undefined : tree.get(at.parent)
  }
  return null
}

/** The folder is there and neither it nor one above it is excluded. */
export const isIncluded = (tree: Tree, id: string): boolean => excludedBy(tree, id) === null

/** Ids of the included folders: inbox, sent mail, archive, then the others as Graph names them. */
export function includedFolders(tree: Tree): string[] {
  const place = ({ known }: FolderNode): number => {
    const at = WELL_KNOWN.indexOf(known ?? '')
    return at === -1 ? WELL_KNOWN.length : at
  }
  return [...tree.values()]
    .filter(({ id }) => isIncluded(tree, id))
    .sort((a, b) => place(a) - place(b))
    .map(({ id }) => id)
}

/** Messages in all included folders, as Graph counts them. */
export const totalOf = (tree: Tree): number =>
  includedFolders(tree).reduce((sum, id) => sum + (tree.get(id)?.total ?? 0), 0)

/** How mail of a folder is labelled: INBOX, SENT, ARCHIVE, or the folder's name; null when the folder or its name is not known. */
export function labelOf(tree: Tree, id: string): string | null {
  const node = tree.get(id)
  if (node === undefined) return null
  const label = Object.entries(LABELS).find(([known]) => known === node.known)?.[1] ?? node.name
  return label === '' ? null : label
}
