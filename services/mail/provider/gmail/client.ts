/**
 * Gmail's API: one call, one request, one checked answer. What is asked once in the life of an account goes through Google's
 * own client with its retries, its auth and its transport taken out; everything else is written here, with the parameters of
 * that client's types. The token is added only to requests that go to the
 * configured origin. It keeps nothing between calls but Google's client, loaded when first needed.
 */
import type { gmail_v1 } from 'googleapis'
import type * as v from 'valibot'
import type { Http, Answer as HttpAnswer, HttpRequest } from '../../base/http.ts'
import { gateOf, type ProviderGate, safeProviderUrl } from '../../base/url-gate.ts'
import { checked, jsonOf, noAnswer } from '../answer.ts'
import { type Call, ProviderError } from '../provider.ts'
import { BATCH_TYPE, type Part, readBatch, writeBatch } from './batch.ts'
import { gmailError, type Refusal } from './errors.ts'
import { HEADERS } from './normalize.ts'
import { HistoryList, MessageList, Profile } from './schemas.ts'

/** What a request needs of a Call; the turn at the limiter is taken by the caller. */
export type Turn = Pick<Call, 'accessToken' | 'signal'>

const PATH = '/gmail/v1/'
const BATCH_PATH = '/batch/gmail/v1'
const ME = { userId: 'me' }
const GET = 'gmail.messages.get'
const BATCH = 'gmail.batch'
/** Parts of a message that are asked for; everything else stays at Google. */
const MESSAGE = {
  format: 'metadata',
  metadataHeaders: [...HEADERS],
  fields: 'id,threadId,labelIds,snippet,internalDate,payload/headers',
} satisfies gmail_v1.Params$Resource$Users$Messages$Get
/** Ids and history records per page; the most that Gmail gives, for the same cost. */
export const PAGE_SIZE = 500

/** As Google's client writes it: a list as a field of the same name for each value. */
function queryOf(params: Record<string, string | number | string[]>): string {
  const fields = Object.entries(params).flatMap(([name, value]) =>
    [value].flat().map((one): [string, string] => [name, String(one)]),
  )
  return new URLSearchParams(fields).toString()
}

const QUERY = queryOf(MESSAGE)
/** What all polls have in common. */
const HISTORY = queryOf({
  historyTypes: ['messageAdded', 'messageDeleted', 'labelRemoved'],
  maxResults: PAGE_SIZE,
} satisfies gmail_v1.Params$Resource$Users$History$List)

function listQuery(pageToken?: string, label?: string): string {
  const params = {
    ...(label !== undefined && { labelIds: [label] }),
    maxResults: PAGE_SIZE,
    ...(pageToken !== undefined && { pageToken }),
  } satisfies gmail_v1.Params$Resource$Users$Messages$List
  return queryOf(params)
}

function historyQuery(startHistoryId: string, pageToken?: string): string {
  const page = pageToken === undefined ? '' : `&pageToken=${encodeURIComponent(pageToken)}`
  return `${HISTORY}&startHistoryId=${encodeURIComponent(startHistoryId)}${page}`
}

const bearer = ({ accessToken }: Turn) => ({ authorization: `Bearer ${accessToken.reveal()}` })
const textHeaders = (headers: Record<string, unknown>): Headers =>
  new Headers(Object.entries(headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])))

/** @throws ProviderError, or the signal's reason */
async function answered<T>(operation: string, turn: Turn, asked: () => Promise<T>): Promise<T> {
  try {
    return await asked()
  } catch (error) {
    throw noAnswer(operation, error, turn.signal)
  }
}

/** The body of an answer. @throws ProviderError when it is a refusal */
function bodyOf({ status, ...refusal }: Refusal): unknown {
  if (status === 200) return refusal.body
  throw gmailError({ status, ...refusal })
}

/** Google's client, loaded by whoever first needs it. */
function googleClient(http: Http, gate: ProviderGate) {
  const fetchThroughGate: typeof fetch = (target, init) => {
    const url = safeProviderUrl(target instanceof Request ? target.url : String(target), gate)
    const headers = Object.fromEntries(new Headers(init?.headers))
    return http.fetch(url, { headers, signal: init?.signal ?? AbortSignal.abort() })
  }
  let loaded: Promise<gmail_v1.Resource$Users> | undefined
  const load = async () => {
    const { gmail } = await import('googleapis')
    return gmail({
      version: 'v1',
      rootUrl: gate.origin,
      universeDomain: 'googleapis.com',
      retry: false,
      fetchImplementation: fetchThroughGate,
      // Refusals are read by errors.ts; thrown, they would carry the request.
      validateStatus: () => true,
    }).users
  }
  return () => (loaded ??= load())
}

export type GmailClient = ReturnType<typeof createGmailClient>

/** @param baseUrl origin of the API. Every call throws ProviderError, or the reason of its turn's signal. */
export function createGmailClient({ baseUrl, http }: { baseUrl: string; http: Http }) {
  const { origin } = gateOf(baseUrl)
  const gate = { origin, pathPrefix: PATH }
  const batchGate = { origin, pathPrefix: BATCH_PATH }
  const users = googleClient(http, gate)

  type Answer = { status: number; headers: Record<string, unknown>; data: unknown }
  type Options = { headers: Record<string, string>; signal: AbortSignal }
  const byGoogle = async (
    operation: string,
    turn: Turn,
    run: (users: gmail_v1.Resource$Users, options: Options) => Promise<Answer>,
  ): Promise<unknown> => {
    const options = { headers: bearer(turn), signal: turn.signal }
    const { status, headers, data } = await answered(operation, turn, async () => run(await users(), options))
    return bodyOf({ operation, status, headers: textHeaders(headers), body: data })
  }

  const send = (turn: Turn, url: string, within: ProviderGate, more: Pick<HttpRequest, 'method' | 'body'> = {}) => {
    const headers = { ...bearer(turn), ...(more.body !== undefined && { 'content-type': BATCH_TYPE }) }
    return http.ask(safeProviderUrl(url, within), { ...more, headers, signal: turn.signal })
  }
  const asked = async (operation: string, turn: Turn, path: string, query: string): Promise<unknown> => {
    const answer = await answered(operation, turn, () => send(turn, `${origin}${PATH}users/me/${path}?${query}`, gate))
    const { status, headers } = answer
    return bodyOf({ operation, status, headers, body: await jsonOf(answer) })
  }
  const ask = async <Schema extends v.GenericSchema>(
    schema: Schema,
    operation: string,
    turn: Turn,
    path: string,
    query: string,
  ): Promise<v.InferOutput<Schema>> => checked(schema, await asked(operation, turn, path, query), operation)

  return {
    profile: async (turn: Turn) => {
      const operation = 'gmail.profile'
      return checked(Profile, await byGoogle(operation, turn, (api, with_) => api.getProfile(ME, with_)), operation)
    },

    /** Ids, newest first, without spam and trash; of one label, or of all. */
    list: (turn: Turn, pageToken?: string, label?: string) =>
      ask(MessageList, 'gmail.messages.list', turn, 'messages', listQuery(pageToken, label)),

    /** Changes after `startHistoryId`, oldest first. */
    history: (turn: Turn, startHistoryId: string, pageToken?: string) =>
      ask(HistoryList, 'gmail.history.list', turn, 'history', historyQuery(startHistoryId, pageToken)),

    /** The raw answer: what is wrong with one message is judged by the caller. */
    get: (turn: Turn, id: string): Promise<unknown> => asked(GET, turn, `messages/${encodeURIComponent(id)}`, QUERY),

    /**
     * Many messages in one request; each settles as `get` would. null = the server takes no batch, or not this one.
     * @throws ProviderError when there is no answer about any of them
     */
    batch: async (turn: Turn, ids: readonly string[]): Promise<Map<string, PromiseSettledResult<unknown>> | null> => {
      const body = writeBatch(ids.map((id) => `${PATH}users/me/messages/${encodeURIComponent(id)}?${QUERY}`))
      const url = `${origin}${BATCH_PATH}`
      const answer = await answered(BATCH, turn, () => send(turn, url, batchGate, { method: 'POST', body }))
      if (answer.status !== 200) return await refusedBatch(answer)
      const parts = readBatch(answer.headers.get('content-type') ?? '', await answer.text(), ids.length)
      if (parts.size === 0) throw new ProviderError('transient', { operation: BATCH, status: 200, code: 'BAD_SHAPE' })
      const sentAt = answer.headers.get('date') ?? ''
      return new Map(ids.map((id, at) => [id, settled(parts.get(at), sentAt)]))
    },
  }
}

/** Where a batch is refused, single messages may be answered: by a server that has no batches, or but for one of them. */
async function refusedBatch(answer: HttpAnswer): Promise<null> {
  const { status, headers } = answer
  const error = gmailError({ operation: BATCH, status, headers, body: await jsonOf(answer) })
  const isOfBatch = status >= 400 && status < 500 && status !== 408
  if (isOfBatch && error.kind !== 'auth' && error.kind !== 'throttled') return null
  throw error
}

/** @param sentAt the time of the whole answer, where a part does not tell its own */
function settled(part: Part | undefined, sentAt: string): PromiseSettledResult<unknown> {
  try {
    if (part === undefined) throw new ProviderError('transient', { operation: GET, status: 200, code: 'NO_PART' })
    const { status, headers, body } = part
    if (!headers.has('date')) headers.set('date', sentAt)
    return { status: 'fulfilled', value: bodyOf({ operation: GET, status, headers, body }) }
  } catch (reason) {
    return { status: 'rejected', reason }
  }
}
