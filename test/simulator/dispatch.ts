/**
 * Owns the way of a request through the simulator: route, fault, token, quota, mailbox, distortion.
 * Refuses sockets: it maps a request to an answer and says which fault the wire has to add.
 */
import { googleBadRequest, googleNotFound, graphError, graphGone } from './answers.ts'
import { distorted, replacement } from './faults.ts'
import { answerGmail, type GmailRoute, gmailRoute } from './gmail-routes.ts'
import { answerGraph, type GraphRoute, graphRoute } from './graph-routes.ts'
import type { Answer, Fault, LogEntry, ProviderName, SimRequest } from './types.ts'
import type { Room, World } from './world.ts'

type Known =
  | { kind: 'gmail'; provider: 'google'; route: GmailRoute }
  | { kind: 'graph'; provider: 'microsoft'; route: GraphRoute }
  | { kind: 'token' | 'revoke'; provider: ProviderName; route: { name: string } }

function isDecodable(path: string): boolean {
  try {
    decodeURIComponent(path)
    return true
  } catch (error) {
    if (error instanceof URIError) return false
    throw error
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch (error) {
    if (error instanceof SyntaxError) return false
    throw error
  }
}

function resolve(method: string, path: string): Known | null {
  if (!isDecodable(path)) return null
  if (method === 'POST' && path === '/google/token')
    return { kind: 'token', provider: 'google', route: { name: 'google.token' } }
  if (method === 'POST' && path === '/google/revoke')
    return { kind: 'revoke', provider: 'google', route: { name: 'google.revoke' } }
  if (method === 'POST' && /^\/[^/]+\/oauth2\/v2\.0\/token$/.test(path)) {
    return { kind: 'token', provider: 'microsoft', route: { name: 'microsoft.token' } }
  }
  const gmail = gmailRoute(method, path)
  if (gmail) return { kind: 'gmail', provider: 'google', route: gmail }
  const graph = graphRoute(method, path)
  return graph ? { kind: 'graph', provider: 'microsoft', route: graph } : null
}

interface Outcome {
  answer: Answer
  fault: Fault | undefined
  /** To be called when the answer has left, or the client is gone. */
  done: () => void
}

function mailboxOf(world: World, known: Known, request: SimRequest): string | null {
  if (known.kind === 'gmail' || known.kind === 'graph')
    return world.auth.owner(request.headers.authorization)?.user ?? null
  return world.auth.ownerOfRefresh(formOf(request))?.user ?? null
}

function formOf(request: SimRequest): URLSearchParams {
  const form = new URLSearchParams(request.body)
  for (const [name, value] of request.url.searchParams) form.append(name, value)
  // A client may also identify itself by HTTP Basic.
  const basic = /^Basic (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
  if (basic) form.set('client_id', Buffer.from(basic, 'base64').toString().split(':')[0] ?? '')
  return form
}

const TRANSIENT_ROUTES = new Set(['gmail.messages.get', 'graph.messages.get'])

/** Faults that change the mailbox or the sync state before it is asked. */
function stateFault(
  world: World,
  room: Room,
  known: Known,
  request: SimRequest,
  fault: Fault | undefined,
): Answer | null {
  const { box } = room
  if (fault?.type === '401untilRefresh') world.auth.killAccess(known.provider, box.user)
  if (fault?.type === 'expireHistory' && box.provider === 'google') box.expireHistory()
  if (fault?.type === 'transient404' && TRANSIENT_ROUTES.has(known.route.name) && 'id' in known.route) {
    const addedMs = box.find(known.route.id)?.state.addedMs ?? null
    if (addedMs !== null && world.clock.now() < addedMs + fault.ms) {
      return known.provider === 'google'
        ? googleNotFound()
        : graphError(404, 'ErrorItemNotFound', 'The item was not found.')
    }
  }
  if (fault?.type === 'expireDelta' && box.provider === 'microsoft' && known.kind === 'graph') {
    const query = request.url.searchParams
    const folder =
      known.route.name === 'graph.mailFolders.delta' ? -1 : (box.folders.find(known.route.id)?.index ?? null)
    if (folder !== null && (query.has('$deltatoken') || query.has('$skiptoken'))) {
      room.states.expire(folder)
      return graphGone(fault.code, `${request.url.origin}${request.url.pathname}`, 149, 157)
    }
  }
  return null
}

/** Deletes mails of the page that was just answered: gone between list and get. */
function vanish(world: World, room: Room, answer: Answer, count: number): void {
  const body = answer.body as { messages?: { id: string }[]; value?: { id: string; parentFolderId?: string }[] }
  const ids = (body.messages ?? body.value ?? []).map(({ id }) => id).filter((id) => room.box.find(id))
  const { user, provider } = room.box
  for (const id of ids.slice(0, count)) world.mutate({ type: 'delete', user, provider, id })
}

function ask(world: World, room: Room, known: Known, request: SimRequest, fault: Fault | undefined): Answer {
  const { box } = room
  if (known.kind === 'gmail' && box.provider === 'google') {
    if (fault?.type === 'historyLess' && known.route.name === 'gmail.history.list') {
      const start = request.url.searchParams.get('startHistoryId') ?? ''
      const token = request.url.searchParams.get('pageToken') ?? Buffer.from(`${start}.${start}`).toString('base64url')
      return { status: 200, body: { nextPageToken: token, historyId: String(box.historyId()) } }
    }
    const nowMs = world.clock.now()
    const lateMs = fault?.type === 'lateHistory' ? fault.ms : 0
    return answerGmail(box, known.route, request, { paging: world.options.paging, nowMs, lateMs })
  }
  if (known.kind === 'graph' && box.provider === 'microsoft') {
    return answerGraph(box, known.route, request, {
      states: room.states,
      origin: request.url.origin,
      pageCap: world.options.pageSizeGraph,
      emptyPage: fault?.type === 'historyLess',
      partial: fault?.type === 'partialItems',
      replay: fault?.type === 'replay',
    })
  }
  return googleBadRequest('Bad request')
}

function answerMail(
  world: World,
  known: Known,
  request: SimRequest,
  fault: Fault | undefined,
  batched: boolean,
): Answer {
  const { provider, route } = known
  const owner = world.auth.owner(request.headers.authorization)
  const room = owner?.provider === provider ? world.find(provider, owner.user) : undefined
  if (room) {
    const changed = stateFault(world, room, known, request, fault)
    if (changed) return changed
  }
  const refused = world.auth.refusal(request.headers.authorization, provider)
  if (refused || !room) return refused ?? googleBadRequest('No such mailbox')
  const query = request.url.searchParams
  const hasToken = query.has('pageToken') || query.has('$skiptoken') || query.has('$deltatoken')
  const instead = replacement(fault, provider, hasToken, world.clock.now())
  if (instead) {
    if (fault && 'retryAfter' in fault && fault.retryAfter !== undefined) {
      world.ledger.announce(provider, room.box.user, world.clock.now() + fault.retryAfter * 1000)
    }
    return instead
  }
  if (request.body && !isJson(request.body)) {
    return provider === 'google'
      ? googleBadRequest('Invalid JSON payload received.')
      : graphError(400, 'BadRequest', 'Unable to read JSON.')
  }
  if (route.name === 'graph.batch') return batch(world, request)
  const unpaid = world.ledger.charge(provider, room.box.user, route.name, !batched)
  if (unpaid) return unpaid
  if (fault?.type === 'reset' && fault.when === 'before') return { status: 200, body: {} }
  const answer = ask(world, room, known, request, fault)
  if (fault?.type === 'vanish' && answer.status === 200) vanish(world, room, answer, fault.count ?? 1)
  return distorted(fault, answer)
}

interface BatchPart {
  id: string
  method?: string
  url: string
  headers?: Record<string, string>
  body?: unknown
}

/** Every part is routed, paid and logged singly; the order of the answers is free (here: reversed). */
function batch(world: World, request: SimRequest): Answer {
  const { requests = [] } = JSON.parse(request.body || '{}') as { requests?: BatchPart[] }
  if (requests.length > 20)
    return graphError(400, 'BadRequest', 'Number of batch request steps exceeds the maximum value of 20.')
  const responses = requests.map((part) => {
    const headers = { ...request.headers, prefer: '', ...lowerCased(part.headers ?? {}) }
    const url = new URL(`/v1.0${part.url}`, request.url)
    const { answer, done } = dispatch(world, { method: part.method ?? 'GET', url, headers, body: '' }, true)
    done()
    return { id: part.id, status: answer.status, headers: answer.headers ?? {}, body: answer.body ?? null }
  })
  return { status: 200, body: { responses: responses.reverse() } }
}

function lowerCased(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}

function answerKnown(
  world: World,
  known: Known,
  request: SimRequest,
  fault: Fault | undefined,
  batched: boolean,
): Answer {
  if (known.kind === 'gmail' || known.kind === 'graph') return answerMail(world, known, request, fault, batched)
  const instead = replacement(fault, known.provider, false, world.clock.now())
  if (instead) return instead
  const form = formOf(request)
  const answer =
    known.kind === 'revoke' ? world.auth.revoke(form.get('token') ?? '') : world.auth.token(known.provider, form, fault)
  return distorted(fault, answer)
}

function unexpected(world: World, request: SimRequest): Outcome {
  const { method, url } = request
  const google = url.pathname.startsWith('/gmail') || url.pathname.startsWith('/google')
  const entry: LogEntry = {
    ...{ t: world.clock.now(), method, route: 'unexpected', url: url.pathname + url.search, mailbox: null },
    ...{ provider: google ? 'google' : 'microsoft', cost: 0, status: 404, inflight: 0, unexpected: true },
  }
  world.record(entry)
  const answer = google ? googleNotFound() : graphError(404, 'BadRequest', 'Resource not found for the segment.')
  return { answer, fault: undefined, done: () => undefined }
}

/** Maps a request to its answer. Never throws for what a client sends. */
export function dispatch(world: World, request: SimRequest, batched = false): Outcome {
  const known = resolve(request.method, request.url.pathname)
  if (!known) return unexpected(world, request)
  const { provider, route } = known
  const mailbox = mailboxOf(world, known, request)
  const counted = mailbox !== null && !batched && (known.kind === 'gmail' || known.kind === 'graph')
  const inflight = counted ? world.ledger.enter(provider, mailbox) : 0
  const fault = world.faults.pick({ provider, route: route.name, mailbox })
  const answer = answerKnown(world, known, request, fault, batched)
  const paid = (known.kind === 'gmail' || known.kind === 'graph') && route.name !== 'graph.batch'
  world.record({
    t: world.clock.now(),
    method: request.method,
    route: route.name,
    url: known.kind === 'revoke' ? request.url.pathname : request.url.pathname + request.url.search,
    mailbox,
    provider,
    cost: paid ? world.ledger.costOf(provider, route.name) : 0,
    status: answer.status,
    inflight,
    ...(fault && { fault: fault.type }),
    ...(batched && { batched: true as const }),
  })
  return { answer, fault, done: () => counted && world.ledger.leave(provider, mailbox) }
}
