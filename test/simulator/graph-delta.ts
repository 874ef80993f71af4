/**
 * Owns delta queries: rounds, links and the generations of their sync state. A folder keeps its last three
 * generations; a link of an older one is gone. Refuses to change a mailbox.
 */
import { graphError, graphGone } from './answers.ts'
import type { GraphMailbox } from './graph-mailbox.ts'
import { graphFolder, graphMessage, partialMessage, selected } from './graph-message.ts'
import type { Answer } from './types.ts'

const KEPT_GENERATIONS = 3
const FILTER_CAP = 5000
const REPLAYED = 5

/** Where a link continues. `f` is the folder index, or -1 for the folders themselves. */
interface Token {
  k: 'init' | 'log'
  m: number
  f: number
  g: number
  /** Next mail index (init). */
  p: number
  /** Sequence in the log of changes after which to go on. */
  s: number
  select: string | null
  /** What `$top` or `$filter` still allows in this round. */
  left: number | null
  afterMs: number | null
}

interface DeltaRequest {
  folder: number
  /** Path of the delta function without query, absolute. */
  self: string
  query: URLSearchParams
  immutable: boolean
  pageSize: number
  /** Answer an empty page with a nextLink (legal, and a trap). */
  emptyPage: boolean
  /** Show whole mails as if only few properties had changed. */
  partial: boolean
  /** Serve again, on top of this page, what came just before it. */
  replay: boolean
}

export type SyncStates = ReturnType<typeof createSyncStates>

export function createSyncStates() {
  const highest = new Map<number, number>()
  const of = (folder: number) => highest.get(folder) ?? 150
  return {
    of,
    next: (folder: number): number => {
      highest.set(folder, of(folder) + 1)
      return of(folder)
    },
    isLive: (folder: number, generation: number) =>
      generation <= of(folder) && generation > of(folder) - KEPT_GENERATIONS,
    /** Every link given out so far is gone. */
    expire: (folder: number) => highest.set(folder, of(folder) + 10),
  }
}

function decode(text: string): Token | null {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString()) as Token
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

function firstToken(box: GraphMailbox, request: DeltaRequest): Token | Answer {
  const { query } = request
  const filter = query.get('$filter')
  const hit = filter === null ? null : /^receivedDateTime\s+(ge|gt)\s+(\S+)$/.exec(filter)
  if (filter !== null && !hit) return graphError(400, 'ErrorInvalidUrlQueryFilter', 'The filter is not supported.')
  if (query.has('$search')) return graphError(400, 'ErrorInvalidUrlQuery', 'Search is not supported.')
  const top = query.has('$top') ? Number(query.get('$top')) : null
  const left = top ?? (hit ? FILTER_CAP : null)
  const afterMs = hit ? Date.parse(hit[2] ?? '') + (hit[1] === 'gt' ? 1 : 0) : null
  const select = query.get('$select')
  const start = { m: box.key, f: request.folder, g: 0, p: Number.MAX_SAFE_INTEGER, s: box.log.length }
  return { k: 'init', ...start, select, left, afterMs }
}

interface Cut {
  value: object[]
  next: Token
  more: boolean
}

function initialFolders(box: GraphMailbox, token: Token, size: number): Cut {
  const all = box.folders.live()
  const from = token.p === Number.MAX_SAFE_INTEGER ? 0 : token.p
  const value = all.slice(from, from + size).map((folder) => selected(graphFolder(box, folder), token.select))
  return { value, next: { ...token, p: from + size }, more: from + size < all.length }
}

function initialMessages(box: GraphMailbox, token: Token, size: number, request: DeltaRequest): Cut {
  const value: object[] = []
  const room = Math.min(size, token.left ?? size)
  const left = token.left === null ? null : token.left - room
  for (const { index, state } of box.newestFirst(token.f, token.p === Number.MAX_SAFE_INTEGER ? undefined : token.p)) {
    if (token.afterMs !== null && state.receivedMs < token.afterMs) continue
    if (value.length === room) return { value, next: { ...token, p: index, left }, more: left !== 0 }
    const full = graphMessage(box, index, state, request.immutable)
    value.push(request.partial ? partialMessage(full, false) : selected(full, token.select))
  }
  return { value, next: token, more: false }
}

function removedItem(id: string, reason: 'deleted' | 'changed'): object {
  return { '@odata.type': '#microsoft.graph.message', id, '@removed': { reason } }
}

/** The log from `token.s` on as this folder shows it: present mails as they are now, gone ones as @removed. */
function changes(box: GraphMailbox, token: Token, size: number, request: DeltaRequest): Cut {
  const items = new Map<string, object>()
  const whole = new Set<number>()
  for (let seq = token.s; seq < box.log.length; seq++) {
    const change = box.log[seq]
    if (!change || (change.kind === 'folder' ? token.f !== -1 : change.folder !== token.f)) continue
    if (items.size >= size) return { value: [...items.values()], next: { ...token, k: 'log', s: seq }, more: true }
    if (change.kind === 'folder') {
      const folder = box.folders.at(change.index)
      if (folder) items.set(folder.id, selected(graphFolder(box, folder), token.select))
      continue
    }
    const state = box.stateOf(change.index)
    const here = !state.deleted && state.folder === token.f
    if (change.kind === 'removed') {
      const id = box.idOf(change.index, change.moves, request.immutable)
      if (!here || !request.immutable) items.set(id, removedItem(id, change.reason))
      continue
    }
    if (!here) continue
    if (change.kind === 'created') whole.add(change.index)
    const full = graphMessage(box, change.index, state, request.immutable)
    const show =
      whole.has(change.index) && !request.partial ? selected(full, token.select) : partialMessage(full, false)
    items.delete(full.id ?? '')
    items.set(full.id ?? '', show)
  }
  return { value: [...items.values()], next: { ...token, k: 'log', s: box.log.length }, more: false }
}

/** One page of a delta round. */
export function graphDelta(box: GraphMailbox, states: SyncStates, request: DeltaRequest): Answer {
  const given = request.query.get('$skiptoken') ?? request.query.get('$deltatoken')
  const decoded = given === null ? firstToken(box, request) : decode(given)
  if (!decoded) return graphError(400, 'ErrorInvalidUrlQuery', 'Badly formed token.')
  if ('status' in decoded) return decoded
  if (decoded.m !== box.key || decoded.f !== request.folder) {
    return graphError(400, 'ErrorInvalidUrlQuery', 'Badly formed token.')
  }
  const location = decoded.select ? `${request.self}?$select=${decoded.select}` : request.self
  if (given !== null && !states.isLive(request.folder, decoded.g)) {
    return graphGone('SyncStateNotFound', location, decoded.g, states.of(request.folder))
  }
  const cut = request.emptyPage ? { value: [], next: decoded, more: true } : cutPage(box, decoded, request)
  const g = states.next(request.folder)
  // A finished first walk goes on from the log as it was when the walk began: replays at worst, never a gap.
  const next: Token = { ...cut.next, g, k: cut.more ? cut.next.k : 'log', left: cut.more ? cut.next.left : null }
  const text = Buffer.from(JSON.stringify(next)).toString('base64url')
  const link = cut.more
    ? { '@odata.nextLink': `${request.self}?$skiptoken=${text}` }
    : { '@odata.deltaLink': `${request.self}?$deltatoken=${text}` }
  const context = `${new URL(request.self).origin}/v1.0/$metadata#Collection(${request.folder === -1 ? 'mailFolder' : 'message'})`
  return { status: 200, body: { '@odata.context': context, ...link, value: cut.value } }
}

function cutPage(box: GraphMailbox, token: Token, request: DeltaRequest): Cut {
  // The page grows by as much as it starts earlier, so that a round always ends.
  const back = request.replay ? REPLAYED : 0
  const size = request.pageSize + back
  if (token.k === 'log') return changes(box, { ...token, s: Math.max(0, token.s - back) }, size, request)
  if (token.f === -1) return initialFolders(box, token, request.pageSize)
  const p = token.p === Number.MAX_SAFE_INTEGER ? token.p : token.p + back
  return initialMessages(box, { ...token, p }, size, request)
}
