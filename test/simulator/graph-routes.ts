/**
 * Owns the Graph mail endpoints: which path is which route, and what it answers from a mailbox.
 * Refuses throttling, tokens and faults (server.ts puts them around it).
 */
import type { User } from '@microsoft/microsoft-graph-types'
import { graphError, graphNotFound } from './answers.ts'
import { graphDelta, type SyncStates } from './graph-delta.ts'
import type { Folder } from './graph-folders.ts'
import type { GraphMailbox } from './graph-mailbox.ts'
import { graphFolder, graphMessage, selected } from './graph-message.ts'
import type { Answer, SimRequest } from './types.ts'

export interface GraphRoute {
  name: string
  id: string
}

const ROUTES: readonly (readonly [method: string, path: RegExp, name: string])[] = [
  ['GET', /^\/me$/i, 'graph.me'],
  ['GET', /^\/me\/mailFolders$/i, 'graph.mailFolders.list'],
  ['GET', /^\/me\/mailFolders\/delta$/i, 'graph.mailFolders.delta'],
  ['GET', /^\/me\/mailFolders\/([^/]+)$/i, 'graph.mailFolders.get'],
  ['GET', /^\/me\/mailFolders\/([^/]+)\/childFolders$/i, 'graph.mailFolders.childFolders'],
  ['GET', /^\/me\/mailFolders\/([^/]+)\/messages$/i, 'graph.messages.list'],
  ['GET', /^\/me\/mailFolders\/([^/]+)\/messages\/delta$/i, 'graph.messages.delta'],
  ['GET', /^\/me\/messages\/delta$/i, 'graph.messages.deltaOfAll'],
  ['GET', /^\/me\/messages\/([^/]+)$/i, 'graph.messages.get'],
  ['POST', /^\/\$batch$/i, 'graph.batch'],
]

export function graphRoute(method: string, path: string): GraphRoute | null {
  if (!path.startsWith('/v1.0/')) return null
  // Links of the service write ids as a key segment: mailFolders('id').
  const plain = decodeURIComponent(path.slice('/v1.0'.length))
    .replaceAll(/\('([^']*)'\)/g, '/$1')
    .replace(/\/delta\(\)$/, '/delta')
  for (const [wanted, pattern, name] of ROUTES) {
    const hit = method === wanted ? pattern.exec(plain) : null
    if (hit) return { name, id: hit[1] ?? '' }
  }
  return null
}

interface Prefer {
  immutable: boolean
  pageSize: number | null
  applied: string
}

function parsePrefer(header: string | undefined): Prefer {
  const immutable = /\bIdType\s*=\s*"?ImmutableId"?/i.test(header ?? '')
  const size = /\bodata\.maxpagesize\s*=\s*(\d+)/i.exec(header ?? '')
  const applied = [...(immutable ? ['IdType="ImmutableId"'] : []), ...(size ? [`odata.maxpagesize=${size[1]}`] : [])]
  return { immutable, pageSize: size ? Math.max(1, Number(size[1])) : null, applied: applied.join(', ') }
}

interface GraphContext {
  states: SyncStates
  origin: string
  /** Most items of a page, whatever `Prefer` asks for. */
  pageCap: number
  emptyPage: boolean
  partial: boolean
  replay: boolean
}

interface ListQuery {
  top: number
  skip: number
}

function listQuery(query: URLSearchParams): ListQuery {
  return { top: Math.min(1000, Number(query.get('$top') ?? 10) || 10), skip: Number(query.get('$skip') ?? 0) || 0 }
}

function page(value: object[], more: boolean, request: SimRequest, at: ListQuery): Answer {
  const next = new URL(request.url)
  next.searchParams.set('$skip', String(at.skip + at.top))
  return { status: 200, body: { ...(more && { '@odata.nextLink': next.href }), value } }
}

function listFolders(box: GraphMailbox, parent: number | null, request: SimRequest): Answer {
  const at = listQuery(request.url.searchParams)
  const hidden = request.url.searchParams.get('includeHiddenFolders') === 'true'
  const all = box.folders
    .live()
    .filter((folder) => folder.parent === parent)
    .map((folder) => graphFolder(box, folder))
    .filter((folder) => hidden || !folder.isHidden)
  const select = request.url.searchParams.get('$select')
  const value = all.slice(at.skip, at.skip + at.top).map((folder) => selected(folder, select))
  return page(value, all.length > at.skip + at.top, request, at)
}

function listMessages(box: GraphMailbox, folder: Folder, request: SimRequest, immutable: boolean): Answer {
  const query = request.url.searchParams
  if (query.has('$filter')) return graphError(400, 'ErrorInvalidUrlQueryFilter', 'The filter is not supported.')
  const at = listQuery(query)
  const value: object[] = []
  let seen = 0
  for (const { index, state } of box.newestFirst(folder.index)) {
    if (seen++ < at.skip) continue
    if (value.length === at.top) return page(value, true, request, at)
    value.push(selected(graphMessage(box, index, state, immutable), query.get('$select')))
  }
  return page(value, false, request, at)
}

function me(box: GraphMailbox): Answer {
  const body = {
    id: `00000000-0000-4000-8000-${box.key.toString(16).padStart(12, '0')}`,
    displayName: 'Owner Of Mailbox',
    mail: box.address,
    userPrincipalName: box.address,
  } satisfies User
  return { status: 200, body }
}

function delta(box: GraphMailbox, folder: Folder | null, request: SimRequest, context: GraphContext): Answer {
  const { immutable, pageSize } = parsePrefer(request.headers.prefer)
  const path = folder ? `/v1.0/me/mailFolders('${folder.id}')/messages/delta` : '/v1.0/me/mailFolders/delta'
  return graphDelta(box, context.states, {
    folder: folder?.index ?? -1,
    self: `${context.origin}${path}`,
    query: request.url.searchParams,
    immutable,
    pageSize: Math.min(context.pageCap, pageSize ?? 10),
    emptyPage: context.emptyPage,
    partial: context.partial,
    replay: context.replay,
  })
}

const noFolder = () => graphError(404, 'ErrorItemNotFound', 'The specified folder could not be found in the store.')
const CHANGE_TRACKING = "Unsupported request: Change tracking is not supported against 'microsoft.graph.message'."

function answerFolder(box: GraphMailbox, route: GraphRoute, request: SimRequest, context: GraphContext): Answer {
  const folder = box.folders.find(route.id)
  if (!folder) return noFolder()
  const select = request.url.searchParams.get('$select')
  switch (route.name) {
    case 'graph.mailFolders.get':
      return { status: 200, body: selected(graphFolder(box, folder), select) }
    case 'graph.mailFolders.childFolders':
      return listFolders(box, folder.index, request)
    case 'graph.messages.list':
      return listMessages(box, folder, request, parsePrefer(request.headers.prefer).immutable)
    default:
      return delta(box, folder, request, context)
  }
}

function answerRoute(box: GraphMailbox, route: GraphRoute, request: SimRequest, context: GraphContext): Answer {
  switch (route.name) {
    case 'graph.me':
      return me(box)
    case 'graph.mailFolders.list':
      return listFolders(box, null, request)
    case 'graph.mailFolders.delta':
      return delta(box, null, request, context)
    case 'graph.messages.deltaOfAll':
      return graphError(400, 'BadRequest', CHANGE_TRACKING)
    case 'graph.messages.get': {
      const hit = box.find(route.id)
      if (!hit) return graphNotFound()
      const full = graphMessage(box, hit.index, hit.state, parsePrefer(request.headers.prefer).immutable)
      return { status: 200, body: selected(full, request.url.searchParams.get('$select')) }
    }
    default:
      return answerFolder(box, route, request, context)
  }
}

/** Answers one Graph request that is already let in. */
export function answerGraph(box: GraphMailbox, route: GraphRoute, request: SimRequest, context: GraphContext): Answer {
  const answer = answerRoute(box, route, request, context)
  const { applied } = parsePrefer(request.headers.prefer)
  return applied ? { ...answer, headers: { ...answer.headers, 'preference-applied': applied } } : answer
}
