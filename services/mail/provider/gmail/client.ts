/**
 * Google's own client with its retries, its auth and its transport taken out: one call, one request, one checked answer.
 * The token is added only to requests that go to the configured origin. It keeps no state between calls.
 */
import { gmail, type gmail_v1 } from 'googleapis'
import type * as v from 'valibot'
import type { Http } from '../../base/http.ts'
import { gateOf, safeProviderUrl } from '../../base/url-gate.ts'
import { checked, noAnswer } from '../answer.ts'
import type { Call } from '../provider.ts'
import { gmailError } from './errors.ts'
import { HEADERS } from './normalize.ts'
import { HistoryList, MessageList, Profile } from './schemas.ts'

/** What a request needs of a Call; the turn at the limiter is taken by the caller. */
export type Turn = Pick<Call, 'accessToken' | 'signal'>

/** Parts of a message that are asked for; everything else stays at Google. */
const FIELDS = 'id,threadId,labelIds,snippet,internalDate,payload/headers'
/** Ids and history records per page; the most that Gmail gives, for the same cost. */
export const PAGE_SIZE = 500

const textHeaders = (headers: Record<string, unknown>): Headers =>
  new Headers(Object.entries(headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])))

export type GmailClient = ReturnType<typeof createGmailClient>

export function createGmailClient(options: { baseUrl: string; http: Http }) {
  const gate = { origin: gateOf(options.baseUrl).origin, pathPrefix: '/gmail/v1/' }
  const send: typeof fetch = (target, init) => {
    const url = safeProviderUrl(target instanceof Request ? target.url : String(target), gate)
    const headers = Object.fromEntries(new Headers(init?.headers))
    return options.http.fetch(url, { headers, signal: init?.signal ?? AbortSignal.abort() })
  }
  const { users } = gmail({
    version: 'v1',
    rootUrl: gate.origin,
    universeDomain: 'googleapis.com',
    retry: false,
    fetchImplementation: send,
    // Refusals are read by errors.ts; thrown, they would carry the request.
    validateStatus: () => true,
  })

  type Answer = { status: number; headers: Record<string, unknown>; data: unknown }
  const request = async (
    operation: string,
    turn: Turn,
    run: (options: { headers: Record<string, string>; signal: AbortSignal }) => Promise<Answer>,
  ): Promise<unknown> => {
    const headers = { authorization: `Bearer ${turn.accessToken.reveal()}` }
    let answer: Answer
    try {
      answer = await run({ headers, signal: turn.signal })
    } catch (error) {
      throw noAnswer(operation, error, turn.signal)
    }
    const { status, data: body } = answer
    if (status === 200) return body
    throw gmailError({ operation, status, headers: textHeaders(answer.headers), body })
  }
  const ask = async <Schema extends v.GenericSchema>(
    schema: Schema,
    operation: string,
    turn: Turn,
    run: Parameters<typeof request>[2],
  ) => checked(schema, await request(operation, turn, run), operation)

  const me = { userId: 'me' }
  return {
    profile: (turn: Turn) => ask(Profile, 'gmail.profile', turn, (with_) => users.getProfile(me, with_)),

    /** Ids, newest first, without spam and trash; of one label, or of all. */
    list: (turn: Turn, pageToken?: string, label?: string) => {
      const labelIds = label === undefined ? {} : { labelIds: [label] }
      const params = { ...me, ...labelIds, maxResults: PAGE_SIZE, ...(pageToken !== undefined && { pageToken }) }
      return ask(MessageList, 'gmail.messages.list', turn, (with_) => users.messages.list(params, with_))
    },

    /** Changes after `startHistoryId`, oldest first. */
    history: (turn: Turn, startHistoryId: string, pageToken?: string) => {
      const params: gmail_v1.Params$Resource$Users$History$List = {
        ...me,
        startHistoryId,
        historyTypes: ['messageAdded', 'messageDeleted', 'labelRemoved'],
        maxResults: PAGE_SIZE,
        ...(pageToken !== undefined && { pageToken }),
      }
      return ask(HistoryList, 'gmail.history.list', turn, (with_) => users.history.list(params, with_))
    },

    /** The raw answer: what is wrong with one message is judged by the caller. */
    get: (turn: Turn, id: string): Promise<unknown> => {
      const params = { ...me, id, format: 'metadata', metadataHeaders: [...HEADERS], fields: FIELDS }
      return request('gmail.messages.get', turn, (with_) => users.messages.get(params, with_))
    },
  }
}
