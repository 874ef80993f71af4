/**
 * Owns the way of a request through the simulator: route, fault, token, quota, mailbox, distortion.
 * Refuses sockets: it maps a request to an answer and says which fault the wire has to add.
 */
import { googleBadRequest, googleNotFound, graphError, graphGone } from './answers.ts'
import { distorted, replacement } from './faults.ts'
import { BATCH_MOST, batchAnswer, isLost, isOfTheWire, readBatchRequest } from './gmail-batch.ts'
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
  if (method === 'POST' && path === '/batch/gmail/v1')
    return { kind: 'gmail', provider: 'google', route: { name: 'gmail.batch', user: 'me', id: '' } }
  const gmail = gmailRoute(method, path)
  if (gmail) return { kind: 'gmail', provider: 'google', route: gmail }
  const graph = graphRoute(method, path)
  return graph ? { kind: 'graph', provider: 'microsoft', route: graph } : null
}

interface Outcome {
  route: string
  answer: Answer
  fault: Fault | undefined
  /** Of a batch of Gmail. */
  parts: readonly Outcome[]
  /** Times until which a fault has told the mailbox to wait, epoch ms. */
  told: readonly number[]
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

interface Asked {
  fault: Fault | undefined
  batched: boolean
  /** Filled with the parts of a batch of Gmail. */
  parts: Outcome[]
  /** Filled with the times that are told. */
  told: number[]
}

function answerMail(world: World, known: Known, request: SimRequest, asked: Asked): Answer {
  const { fault, batched, parts, told } = asked
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
    if (fault && 'retryAfter' in fault && fault.retryAfter !== undefined)
      told.push(world.clock.now() + fault.retryAfter * 1000)
    return instead
  }
  if (route.name === 'gmail.batch') return distorted(fault, gmailBatch(world, request, parts))
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

/** Every part is routed, paid and logged singly, and is in flight until the whole answer has left. */
function gmailBatch(world: World, request: SimRequest, parts: Outcome[]): Answer {
  const asked = readBatchRequest(request)
  if (asked === null || asked.length === 0 || asked.length > BATCH_MOST)
    return googleBadRequest('Failed to parse batch request.')
  const answers = asked.map(({ id, method, path }) => {
    const url = new URL(path, request.url)
    const part = dispatch(world, { method, url, headers: request.headers, body: '' }, true)
    parts.push(part)
    return { id, answer: part.answer, fault: part.fault?.type }
  })
  return batchAnswer(answers)
}

function lowerCased(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}

function answerKnown(world: World, known: Known, request: SimRequest, asked: Asked): Answer {
  const { fault } = asked
  if (known.kind === 'gmail' || known.kind === 'graph') return answerMail(world, known, request, asked)
  const instead = replacement(fault, known.provider, false, world.clock.now())
  if (instead) return instead
  const form = formOf(request)
  const answer =
    known.kind === 'revoke' ? world.auth.revoke(form.get('token') ?? '') : world.auth.token(known.provider, form, fault)
  return distorted(fault, answer)
}

function unexpected(world: World, request: SimRequest): Outcome {
  const { method, url } = request
  const google =
    url.pathname.startsWith('/gmail') || url.pathname.startsWith('/batch') || url.pathname.startsWith('/google')
  const entry: LogEntry = {
    ...{ t: world.clock.now(), method, route: 'unexpected', url: url.pathname + url.search, mailbox: null },
    ...{ provider: google ? 'google' : 'microsoft', cost: 0, status: 404, inflight: 0, unexpected: true },
  }
  world.record(entry)
  const answer = google ? googleNotFound() : graphError(404, 'BadRequest', 'Resource not found for the segment.')
  return { route: entry.route, answer, fault: undefined, parts: [], told: [], done: () => undefined }
}

/** What a batch tells in its parts is lost with it. */
const toldBy = ({ fault, parts, told }: Outcome): number[] => [
  ...told,
  ...(isLost(fault) ? [] : parts.flatMap((part) => part.told)),
]

const isBatch = ({ name }: { name: string }): boolean => name === 'gmail.batch' || name === 'graph.batch'

/** Maps a request to its answer. Never throws for what a client sends. */
export function dispatch(world: World, request: SimRequest, batched = false): Outcome {
  const known = resolve(request.method, request.url.pathname)
  if (!known) return unexpected(world, request)
  const { provider, route } = known
  const mailbox = mailboxOf(world, known, request)
  // Gmail counts the parts of a batch as parallel requests, Graph the batch.
  const counted = mailbox !== null && (known.kind === 'gmail' ? !isBatch(route) : known.kind === 'graph' && !batched)
  const inflight = counted ? world.ledger.enter(provider, mailbox) : 0
  const fault = world.faults.pick({ provider, route: route.name, mailbox })
  const parts: Outcome[] = []
  const told: number[] = []
  const answer = answerKnown(world, known, request, { fault, batched, parts, told })
  const paid = (known.kind === 'gmail' || known.kind === 'graph') && !isBatch(route)
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
  const done = () => {
    for (const part of parts) part.done()
    if (counted) world.ledger.leave(provider, mailbox)
  }
  const outcome = { route: route.name, answer, fault: fault ?? parts.find(isOfTheWire)?.fault, parts, told, done }
  // A part of Gmail tells nothing before the whole answer does.
  if (mailbox !== null && !(batched && known.kind === 'gmail'))
    for (const untilMs of toldBy(outcome)) world.ledger.announce(provider, mailbox, untilMs)
  return outcome
}
