/**
 * Graph's lanes `folders` (the tree) and `folder:<id>` (the mail of one folder), both delta walks, newest first where Graph
 * answers so. A move is a removal here and an arrival there under the same id: neither says "new mail". It stores nothing.
 */
import * as v from 'valibot'
import { auditLane, FOLDER_LANE, isFolderLane, refillLane } from '../../base/model.ts'
import { refuseUnreadablePage } from '../answer.ts'
import { DRAIN } from '../drain.ts'
import { type Call, emptyPage, type LaneUpdate, type Page, type PageRequest, ProviderError } from '../provider.ts'
import type { GraphClient, Turn } from './client.ts'
import { isNotFound } from './errors.ts'
import {
  applyFolder,
  includedFolders,
  isIncluded,
  labelOf,
  MUST_BE_NAMED,
  readFolders,
  type Tree,
  totalOf,
  treeOf,
  WELL_KNOWN,
  writeFolders,
} from './folders.ts'
import { graphMeta } from './normalize.ts'
import { Folder, type GraphMessage, Item, Message } from './schemas.ts'

export const FOLDERS = 'folders'
/** Id of the folder that the lane walks. */
export const folderOf = (lane: string): string => lane.slice(FOLDER_LANE.length)

/** Every Graph request costs the same. */
const ONE = 1
export const inTurn = <T>(call: Call, request: (turn: Turn) => Promise<T>): Promise<T> =>
  call.limiter.run(ONE, call.priority, call.signal, (signal) => request({ accessToken: call.accessToken, signal }))

/** The last whole tree, as the lane `folders` left it. Empty before its first walk has ended. */
export function storedTree(request: Pick<PageRequest, 'cursorOf'>): Tree {
  return treeOf(readFolders(request.cursorOf(FOLDERS) ?? null).tree)
}

/**
 * Finds the well-known folders that nobody has named yet; some appear only when they are first used, and not every mailbox
 * understands every name. A name that is not understood means "not here", but for the names that keep mail in: as long as one of those is
 * refused and a folder has no other name, that folder may be the bin, and the tree is not taken.
 */
async function nameWellKnown(client: GraphClient, tree: Tree, call: Call): Promise<void> {
  const named = new Set([...tree.values()].map(({ known }) => known))
  const missing = WELL_KNOWN.filter((name) => !named.has(name))
  const refused: ProviderError[] = []
  const lookUp = async (name: string): Promise<string> => {
    try {
      return (await inTurn(call, (turn) => client.folder(turn, name))).id
    } catch (error) {
      if (!(error instanceof ProviderError) || error.kind !== 'rejected' || error.facts.status === 403) throw error
      if (MUST_BE_NAMED.includes(name) && !isNotFound(error)) refused.push(error)
      return ''
    }
  }
  const ids = await Promise.all(missing.map(lookUp))
  for (const [at, name] of missing.entries()) {
    const node = tree.get(ids[at] ?? '')
    if (node !== undefined) tree.set(node.id, { ...node, known: name })
  }
  if (refused[0] !== undefined && [...tree.values()].some(({ known }) => known === null)) throw refused[0]
}

/** Lanes that come and go with a finished walk. */
function laneChanges(before: Tree, after: Tree, request: PageRequest): Pick<Page, 'lanes' | 'dropLanes'> {
  const lanes: LaneUpdate[] = includedFolders(after)
    .map((id) => FOLDER_LANE + id)
    .filter((lane) => request.cursorOf(lane) === undefined)
    .map((lane) => ({ lane, cursor: null, done: false }))
  if (request.cursorOf(DRAIN) === undefined) lanes.push({ lane: DRAIN, cursor: null, done: true })
  const dropLanes = [...new Set([...before.keys(), ...after.keys()])]
    .filter((id) => !isIncluded(after, id))
    .flatMap((id) => [FOLDER_LANE + id, refillLane(id), auditLane(id)])
    .filter((lane) => request.cursorOf(lane) !== undefined)
  return { lanes, dropLanes }
}

async function foldersPage(client: GraphClient, request: PageRequest, call: Call): Promise<Page> {
  const cursor = readFolders(request.cursor)
  const answer = await inTurn(call, (turn) => client.folders(turn, cursor.link)).catch((error: unknown) => {
    if (!(error instanceof ProviderError) || error.kind !== 'gone') throw error
    // The old tree is kept: it tells which folders are missing when the new walk has ended.
    const restart = { link: error.facts.restartCursor ?? null, tree: cursor.tree, next: [] }
    throw new ProviderError('gone', { ...error.facts, restartCursor: writeFolders(restart) }, { cause: error })
  })
  const before = treeOf(cursor.tree)
  const tree = treeOf(cursor.next ?? cursor.tree)
  let skipped = 0
  for (const raw of answer.value) {
    const item = v.safeParse(Folder, raw)
    if (item.success) applyFolder(tree, item.output, before)
    else if (v.is(Item, raw)) {
      throw new ProviderError('transient', { operation: 'graph.mailFolders.delta', status: 200, code: 'BAD_SHAPE' })
    } else skipped++
  }
  refuseUnreadablePage('graph.mailFolders.delta', { readable: answer.value.length - skipped, skipped })
  if (!answer.isEnd) {
    const next = writeFolders({ link: answer.link, tree: cursor.tree, next: [...tree.values()] })
    return { ...emptyPage(), lanes: [{ lane: FOLDERS, cursor: next, done: false }], more: true, skipped }
  }
  if ([...tree.keys()].some((id) => !before.has(id))) await nameWellKnown(client, tree, call)
  const { lanes, dropLanes } = laneChanges(before, tree, request)
  const end = writeFolders({ link: answer.link, tree: [...tree.values()], next: null })
  return {
    ...emptyPage(),
    lanes: [{ lane: FOLDERS, cursor: end, done: true }, ...lanes],
    dropLanes,
    syncCursor: answer.link,
    totalEstimate: totalOf(tree),
    skipped,
  }
}

/** Sorts the items of a page: whole messages, ids that have to be fetched, items without an id. */
export function readItems(value: readonly unknown[]) {
  const whole = new Map<string, GraphMessage>()
  const partial = new Set<string>()
  let readable = 0
  let skipped = 0
  for (const raw of value) {
    const item = v.safeParse(Item, raw)
    if (!item.success) {
      skipped++
      continue
    }
    readable++
    // Where it went, or whether it is gone, is told elsewhere.
    if (item.output['@removed'] !== undefined) continue
    const message = v.safeParse(Message, raw)
    if (message.success) whole.set(message.output.id, message.output)
    else partial.add(item.output.id)
  }
  return { whole, partial: [...partial].filter((id) => !whole.has(id)), readable, skipped }
}

async function folderPage(client: GraphClient, request: PageRequest, call: Call): Promise<Page> {
  const folder = folderOf(request.lane)
  let answer: Awaited<ReturnType<GraphClient['messages']>>
  try {
    answer = await inTurn(call, (turn) => client.messages(turn, folder, request.cursor))
  } catch (error) {
    if (isNotFound(error)) return { ...emptyPage(), dropLanes: [request.lane] }
    throw error
  }
  const { whole, partial, readable, skipped } = readItems(answer.value)
  refuseUnreadablePage('graph.messages.delta', { readable, skipped })
  const known = new Set([...request.known([...whole.keys()]), ...request.published(partial)])
  const label = labelOf(storedTree(request), folder)
  return {
    ...emptyPage(),
    messages: [...whole.values()]
      .filter(({ id, isDraft }) => !isDraft && !known.has(id))
      .map((message) => graphMeta(message, label)),
    enqueue: { ids: partial.filter((id) => !known.has(id)), urgent: true },
    lanes: [{ lane: request.lane, cursor: answer.link, done: answer.isEnd }],
    more: !answer.isEnd,
    skipped,
  }
}

/** One page of the tree or of a folder; `drain` is wired in adapter.ts. */
export async function walkPage(client: GraphClient, request: PageRequest, call: Call): Promise<Page> {
  if (request.lane === FOLDERS) return foldersPage(client, request, call)
  if (isFolderLane(request.lane)) return folderPage(client, request, call)
  throw new ProviderError('rejected', { operation: `graph.${request.lane}`, code: 'UNKNOWN_LANE' })
}
