/**
 * Owns the Gmail endpoints: which path is which route, and what it answers from a mailbox.
 * Refuses quotas, tokens and faults (server.ts puts them around it).
 */
import type { gmail_v1 } from 'googleapis'
import { googleBadRequest, googleError, googleNotFound } from './answers.ts'
import { gmailHistory } from './gmail-history.ts'
import type { GmailMailbox } from './gmail-mailbox.ts'
import { type Format, gmailMessage, gmailRef } from './gmail-message.ts'
import { decodePageToken, encodePageToken } from './page-token.ts'
import type { Answer, Overrides, Paging, SimRequest } from './types.ts'

export interface GmailRoute {
  name: string
  user: string
  id: string
}

const SYSTEM_LABELS = ['INBOX', 'SENT', 'DRAFT', 'SPAM', 'TRASH', 'UNREAD', 'STARRED', 'IMPORTANT', 'CHAT']

const ROUTES: readonly (readonly [method: string, rest: RegExp, name: string])[] = [
  ['GET', /^profile$/, 'gmail.profile'],
  ['GET', /^labels$/, 'gmail.labels.list'],
  ['GET', /^labels\/([^/]+)$/, 'gmail.labels.get'],
  ['GET', /^messages$/, 'gmail.messages.list'],
  ['POST', /^messages$/, 'gmail.messages.insert'],
  ['GET', /^messages\/([^/]+)$/, 'gmail.messages.get'],
  ['DELETE', /^messages\/([^/]+)$/, 'gmail.messages.delete'],
  ['POST', /^messages\/([^/]+)\/modify$/, 'gmail.messages.modify'],
  ['POST', /^messages\/([^/]+)\/trash$/, 'gmail.messages.trash'],
  ['POST', /^messages\/([^/]+)\/untrash$/, 'gmail.messages.untrash'],
  ['GET', /^history$/, 'gmail.history.list'],
  ['POST', /^watch$/, 'gmail.watch'],
  ['POST', /^stop$/, 'gmail.stop'],
]

export function gmailRoute(method: string, path: string): GmailRoute | null {
  const hit = /^\/gmail\/v1\/users\/([^/]+)\/(.+)$/.exec(path)
  if (!hit) return null
  for (const [wanted, rest, name] of ROUTES) {
    const inner = method === wanted ? rest.exec(hit[2] ?? '') : null
    if (inner) return { name, user: decodeURIComponent(hit[1] ?? ''), id: decodeURIComponent(inner[1] ?? '') }
  }
  return null
}

function limitOf(query: URLSearchParams): number {
  const wanted = Number(query.get('maxResults') ?? 100)
  return Number.isInteger(wanted) && wanted > 0 ? Math.min(500, wanted) : 100
}

/** `q` understands only `after:` and `before:` with epoch seconds; null = not understood. */
function timeFilter(q: string | null): ((ms: number) => boolean) | null {
  const terms = (q ?? '').split(/\s+/).filter(Boolean)
  const tests = terms.map((term) => /^(after|before):(\d+)$/.exec(term))
  if (tests.some((test) => test === null)) return null
  return (ms) => tests.every((test) => (test?.[1] === 'after') === ms >= Number(test?.[2]) * 1000)
}

function list(box: GmailMailbox, query: URLSearchParams, paging: Paging): Answer {
  const inTime = timeFilter(query.get('q'))
  if (!inTime) return googleBadRequest('Invalid query')
  const limit = limitOf(query)
  const wanted = query.getAll('labelIds')
  const hidden =
    query.get('includeSpamTrash') === 'true' ? [] : ['SPAM', 'TRASH'].filter((one) => !wanted.includes(one))
  const token = query.get('pageToken')
  const at = token === null ? null : decodePageToken(token, paging)
  if (token !== null && at === null) return googleBadRequest('Invalid pageToken')
  const found: { index: number; thread: number }[] = []
  let skip = paging === 'offset' ? (at ?? 0) : 0
  for (const { index, state } of box.newestFirst(paging === 'keyset' && at !== null ? at : undefined)) {
    if (state.labels.some((one) => hidden.includes(one)) || !wanted.every((one) => state.labels.includes(one))) continue
    if (!inTime(state.internalMs) || skip-- > 0) continue
    found.push({ index, thread: state.thread })
    if (found.length > limit) break
  }
  const next = found.length > limit ? found.pop() : undefined
  const offset = (paging === 'offset' ? (at ?? 0) : 0) + limit
  const body: gmail_v1.Schema$ListMessagesResponse = {
    ...(found.length > 0 && { messages: found.map(({ index, thread }) => gmailRef(box, index, thread)) }),
    ...(next && { nextPageToken: encodePageToken(paging === 'keyset' ? next.index : offset, paging) }),
    resultSizeEstimate: Math.min(201, found.length + (next ? 100 : 0)),
  }
  return { status: 200, body }
}

function get(box: GmailMailbox, id: string, query: URLSearchParams): Answer {
  const hit = box.find(id)
  if (!hit) return googleNotFound()
  const format = query.get('format') ?? 'full'
  if (!['minimal', 'full', 'raw', 'metadata'].includes(format)) return googleBadRequest(`Invalid value at 'format'`)
  const headers = query.getAll('metadataHeaders')
  return { status: 200, body: gmailMessage(box, hit.index, hit.state, format as Format, headers) }
}

function labels(box: GmailMailbox): gmail_v1.Schema$Label[] {
  const system = SYSTEM_LABELS.map((id) => ({ id, name: id, type: 'system' }) satisfies gmail_v1.Schema$Label)
  return [
    ...system,
    ...box.userLabels.map(({ id, name }) => ({ id, name, type: 'user' }) satisfies gmail_v1.Schema$Label),
  ]
}

function profile(box: GmailMailbox): Answer {
  const messagesTotal = box.live()
  const body: gmail_v1.Schema$Profile = {
    emailAddress: box.address,
    messagesTotal,
    threadsTotal: Math.ceil(messagesTotal / 2),
    historyId: String(box.historyId()),
  }
  return { status: 200, body }
}

/** Header lines of an RFC 5322 text (folded lines kept) and its text in one line, for `messages.insert`. */
function parseRaw(raw: string): Pick<Overrides, 'headers' | 'preview'> {
  const [head = '', ...text] = Buffer.from(raw, 'base64url')
    .toString('utf8')
    .split(/\r?\n\r?\n/)
  const headers = head
    .split(/\r?\n(?![ \t])/)
    .map((line) => ({ name: line.slice(0, line.indexOf(':')), value: line.slice(line.indexOf(':') + 1).trim() }))
  return { headers, preview: text.join(' ').replace(/\s+/g, ' ').trim() }
}

function change(
  box: GmailMailbox,
  route: GmailRoute,
  body: gmail_v1.Schema$Message & gmail_v1.Schema$ModifyMessageRequest,
): Answer {
  const hit = route.name === 'gmail.messages.insert' ? null : box.find(route.id)
  if (!hit && route.name !== 'gmail.messages.insert') return googleNotFound()
  const index = hit?.index ?? box.add(body.labelIds ?? [], parseRaw(body.raw ?? ''))
  if (route.name === 'gmail.messages.delete') {
    box.remove(index)
    return { status: 204 }
  }
  if (route.name === 'gmail.messages.modify') box.relabel(index, body.addLabelIds ?? [], body.removeLabelIds ?? [])
  if (route.name === 'gmail.messages.trash') box.relabel(index, ['TRASH'], ['INBOX'])
  if (route.name === 'gmail.messages.untrash') box.relabel(index, [], ['TRASH'])
  const state = box.stateOf(index)
  const { id, threadId, labelIds } = gmailMessage(box, index, state, 'minimal', [])
  return { status: 200, body: { id, threadId, labelIds } }
}

interface GmailContext {
  paging: Paging
  nowMs: number
  /** How far history lags behind. */
  lateMs: number
}

/** Answers one Gmail request that is already let in. */
export function answerGmail(box: GmailMailbox, route: GmailRoute, request: SimRequest, context: GmailContext): Answer {
  if (route.user !== 'me' && route.user !== box.address) {
    return googleError(403, `Delegation denied for ${box.address}`, {
      reason: 'forbidden',
      status: 'PERMISSION_DENIED',
    })
  }
  const query = request.url.searchParams
  switch (route.name) {
    case 'gmail.profile':
      return profile(box)
    case 'gmail.labels.list':
      return { status: 200, body: { labels: labels(box) } }
    case 'gmail.labels.get': {
      const label = labels(box).find(({ id }) => id === route.id)
      return label ? { status: 200, body: label } : googleNotFound()
    }
    case 'gmail.messages.list':
      return list(box, query, context.paging)
    case 'gmail.messages.get':
      return get(box, route.id, query)
    case 'gmail.history.list':
      return gmailHistory(box, query, limitOf(query), context.lateMs > 0 ? context.nowMs - context.lateMs : null)
    case 'gmail.watch': {
      const expiration = String(context.nowMs + 7 * 86_400_000)
      return {
        status: 200,
        body: { historyId: String(box.historyId()), expiration } satisfies gmail_v1.Schema$WatchResponse,
      }
    }
    case 'gmail.stop':
      return { status: 204 }
    default:
      return change(box, route, request.body ? JSON.parse(request.body) : {})
  }
}
