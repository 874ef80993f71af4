/**
 * Microsoft's own client with a middleware chain of ours: the token, then our transport. One call, one request, one
 * checked answer; links are turned into path and query, and no other origin is ever asked. It keeps no state.
 */
import {
  Client,
  type Context,
  type Middleware,
  type MiddlewareOptions,
  ResponseType,
} from '@microsoft/microsoft-graph-client'
import type * as v from 'valibot'
import type { Answer, Http } from '../../base/http.ts'
import { gateOf, type ProviderGate, safeProviderUrl, UrlRefused } from '../../base/url-gate.ts'
import { checked, jsonOf, noAnswer, refuseLoop } from '../answer.ts'
import { type Call, ProviderError } from '../provider.ts'
import { graphError } from './errors.ts'
import { DeltaPage, Id, ListPage, Me } from './schemas.ts'

/** What a request needs of a Call; the turn at the limiter is taken by the caller. */
export type Turn = Pick<Call, 'accessToken' | 'signal'>

/** Immutable ids survive a move; without them each move would look like new mail. */
const preferring = (pageSize: number): string => `IdType="ImmutableId", odata.maxpagesize=${pageSize}`
const PAGE_SIZE = 100
/** Of a list of ids: the most that Graph gives (learn.microsoft.com/graph/api/user-list-messages). */
const IDS_PAGE_SIZE = 1_000
const SELECT =
  'id,conversationId,internetMessageId,subject,from,sender,toRecipients,ccRecipients,bccRecipients,replyTo,' +
  'receivedDateTime,sentDateTime,bodyPreview,isRead,isDraft,parentFolderId,categories'

/** Carries one call through the chain. */
class TurnOptions implements MiddlewareOptions {
  readonly turn: Turn
  readonly prefer: string
  /** What came. */
  answer: Answer | undefined
  /** What went wrong below; the SDK hands on only its name. */
  failure: unknown
  constructor(turn: Turn, pageSize: number) {
    this.turn = turn
    this.prefer = preferring(pageSize)
  }
}

const optionsOf = (context: Context): TurnOptions => {
  const options = context.middlewareControl?.getMiddlewareOptions(TurnOptions)
  if (!(options instanceof TurnOptions)) throw new TypeError('a request without its call')
  return options
}

/**
 * What the SDK is given in place of an answer, which it hands on unread. A `Response` of its own for each costs as much as sending the
 * request, and holds the body until all of the heap is collected.
 */
const UNREAD = new Response()

/** The last stop before the wire: nothing leaves for another address than the configured one. */
const send = (http: Http, gate: ProviderGate): Middleware => ({
  async execute(context) {
    const options = optionsOf(context)
    try {
      const url = safeProviderUrl(String(context.request), gate)
      const headers = { ...Object.fromEntries(new Headers(context.options?.headers)) }
      options.answer = await http.ask(url, { headers, signal: options.turn.signal })
      context.response = UNREAD
    } catch (error) {
      options.failure = error
      throw error
    }
  },
})

/** Sets what every request carries. */
const authorize = (): Middleware => {
  let next: Middleware | undefined
  return {
    setNext(middleware) {
      next = middleware
    },
    async execute(context) {
      const { turn, prefer } = optionsOf(context)
      const authorization = `Bearer ${turn.accessToken.reveal()}`
      context.options = { ...context.options, headers: { authorization, prefer, accept: 'application/json' } }
      await next?.execute(context)
    },
  }
}

/** A link of an answer or of a stored cursor as path and query. @throws UrlRefused */
function pathOf(link: string, gate: ProviderGate): string {
  const { pathname, search } = safeProviderUrl(link, gate)
  // The SDK takes "https://" anywhere in a path for the start of the address.
  return (pathname.slice(gate.pathPrefix.length - 1) + search).replaceAll('://', '%3A//')
}

/** Where Graph says a walk has to start again, if that may be followed. */
function locationOf(headers: Answer['headers'], gate: ProviderGate): string | undefined {
  try {
    return safeProviderUrl(headers.get('location') ?? '', gate).href
  } catch (error) {
    if (error instanceof UrlRefused) return undefined
    throw error
  }
}

/** Links are followed only to where requests go. */
function linksOf(gate: ProviderGate) {
  /** A stored link to elsewhere is forgotten. */
  const stored = (operation: string, start: string, link: string | null): string => {
    try {
      return link === null ? start : pathOf(link, gate)
    } catch (cause) {
      throw new ProviderError('gone', { operation, code: 'FOREIGN_LINK' }, { cause })
    }
  }
  /** A link to elsewhere that comes in an answer makes it a bad one. */
  const refuseForeign = (operation: string, link: string): void => {
    try {
      pathOf(link, gate)
    } catch (cause) {
      throw new ProviderError('transient', { operation, status: 200, code: 'FOREIGN_LINK' }, { cause })
    }
  }
  return { stored, refuseForeign }
}

export type GraphClient = ReturnType<typeof createGraphClient>

export function createGraphClient({ baseUrl, http }: { baseUrl: string; http: Http }) {
  const gate = gateOf(baseUrl)
  const parts = gate.pathPrefix.split('/').filter((part) => part !== '')
  const client = Client.initWithMiddleware({
    baseUrl: [gate.origin, ...parts.slice(0, -1), ''].join('/'),
    defaultVersion: parts.at(-1) ?? '',
    middleware: [authorize(), send(http, gate)],
  })

  type Sent = { sentLink?: boolean; pageSize?: number }
  const request = async (operation: string, turn: Turn, path: string, sent: Sent = {}): Promise<unknown> => {
    const { sentLink = false, pageSize = PAGE_SIZE } = sent
    const options = new TurnOptions(turn, pageSize)
    try {
      await client.api(path).middlewareOptions([options]).responseType(ResponseType.RAW).get()
    } catch (error) {
      throw noAnswer(operation, options.failure ?? error, turn.signal)
    }
    const { answer } = options
    if (answer === undefined) throw new TypeError('the chain ended without an answer')
    const { status, headers } = answer
    const body = await jsonOf(answer)
    if (status === 200) return body
    const location = locationOf(headers, gate)
    throw graphError({ operation, status, headers, body, sentLink, ...(location !== undefined && { location }) })
  }
  const ask = async <Schema extends v.GenericSchema>(
    schema: Schema,
    operation: string,
    turn: Turn,
    path: string,
    sent: Sent = {},
  ) => checked(schema, await request(operation, turn, path, sent), operation)

  const { stored, refuseForeign } = linksOf(gate)
  /** A walk goes on by its link. */
  const walk = async (operation: string, turn: Turn, start: string, link: string | null) => {
    const answer = await ask(DeltaPage, operation, turn, stored(operation, start, link), { sentLink: link !== null })
    const next = answer['@odata.nextLink']
    const end = answer['@odata.deltaLink']
    refuseForeign(operation, next ?? end ?? '')
    refuseLoop(operation, link, next)
    return { value: answer.value, link: next ?? end ?? '', isEnd: next === undefined }
  }

  const at = encodeURIComponent
  /** All that lies in a folder, newest first. */
  const list = async (turn: Turn, folder: string, link: string | null, select: string, pageSize: number) => {
    const operation = 'graph.messages.list'
    const query = `$select=${select}&$orderby=receivedDateTime%20desc&$top=${pageSize}`
    const start = `/me/mailFolders/${at(folder)}/messages?${query}`
    const sent = { sentLink: link !== null, pageSize }
    const answer = await ask(ListPage, operation, turn, stored(operation, start, link), sent)
    const next = answer['@odata.nextLink'] ?? null
    if (next !== null) refuseForeign(operation, next)
    refuseLoop(operation, link, next)
    return { value: answer.value, next }
  }
  return {
    me: (turn: Turn) => ask(Me, 'graph.me', turn, '/me?$select=mail,userPrincipalName'),
    /** @param name id or well-known name. */
    folder: (turn: Turn, name: string) =>
      ask(Id, 'graph.mailFolders.get', turn, `/me/mailFolders/${at(name)}?$select=id`),
    folders: (turn: Turn, link: string | null) => walk('graph.mailFolders.delta', turn, '/me/mailFolders/delta', link),
    messages: (turn: Turn, folder: string, link: string | null) =>
      walk('graph.messages.delta', turn, `/me/mailFolders/${at(folder)}/messages/delta?$select=${SELECT}`, link),
    /** Beside the delta walk: a second one would end the first one's links. */
    list: (turn: Turn, folder: string, link: string | null) => list(turn, folder, link, SELECT, PAGE_SIZE),
    /** Ids, and which of them are drafts. */
    ids: (turn: Turn, folder: string, link: string | null) => list(turn, folder, link, 'id,isDraft', IDS_PAGE_SIZE),
    /** The raw answer: what is wrong with one message is judged by the caller. */
    message: (turn: Turn, id: string): Promise<unknown> =>
      request('graph.messages.get', turn, `/me/messages/${at(id)}?$select=${SELECT}`),
  }
}
