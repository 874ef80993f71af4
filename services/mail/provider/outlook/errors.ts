/**
 * What Graph's refusals mean. Pure: it sorts an answer that is not 200 into the kinds of the adapter contract and never
 * decides who waits, retries or gives up.
 */
import * as v from 'valibot'
import type { Answer } from '../../base/http.ts'
import { ProviderError, type ProviderErrorFacts } from '../provider.ts'
import { retryAfterMs } from '../retry-after.ts'

const text = v.fallback(v.string(), '')
const Body = v.object({ error: v.object({ code: text, message: text }) })

/** The state behind a link is gone; Graph sends these with 410, sometimes with 400 or 404. */
const FORGOTTEN = /^(?:syncState\w*|resync\w*|invalidDeltaToken)$/i
/** A 400 or 404 that names the token of the link. */
const NAMES_TOKEN = /\b(?:delta|skip|sync)?\s?-?(?:token|sync ?state)\b/i
/** What was asked for is not there. Other 404s are about the mailbox or the address. */
const NOT_THERE = /^(?:ErrorItemNotFound|ErrorFolderNotFound|itemNotFound)$/i

export type Refusal = {
  operation: string
  status: number
  headers: Answer['headers']
  body: unknown
  /** A link was sent, whose token may be what is refused. */
  sentLink: boolean
  /** `Location`, when it may be followed. */
  location?: string
}

/** An answer that is not 200. A body that is not Graph's error object comes from something in between: transient. */
export function graphError({ operation, status, headers, body, sentLink, location }: Refusal): ProviderError {
  const parsed = v.safeParse(Body, body)
  const { code, message } = parsed.success ? parsed.output.error : { code: '', message: '' }
  const waitMs = retryAfterMs(headers, message)
  const facts: ProviderErrorFacts = {
    operation,
    status,
    code,
    ...(waitMs !== undefined && { retryAfterMs: waitMs }),
  }
  if (status === 401) return new ProviderError('auth', facts)
  if (status === 429 || status === 509) {
    const isWholeApp = code === 'ApplicationThrottled' && !/mailbox/i.test(message)
    return new ProviderError('throttled', { ...facts, scope: isWholeApp ? 'project' : 'mailbox' })
  }
  const namesToken = FORGOTTEN.test(code) || NAMES_TOKEN.test(message)
  const isForgotten = status === 410 || ((status === 400 || status === 404) && namesToken)
  if (sentLink && isForgotten) {
    return new ProviderError('gone', { ...facts, ...(location !== undefined && { restartCursor: location }) })
  }
  // Whoever names a time is not asked before it, whatever keeps the answer away.
  if (status >= 500 && waitMs !== undefined) return new ProviderError('throttled', { ...facts, scope: 'mailbox' })
  if (status >= 500 || status === 408 || !parsed.success) return new ProviderError('transient', facts)
  return new ProviderError('rejected', facts)
}

/** The folder (or item) that was asked does not exist any more. */
export const isNotFound = (error: unknown): boolean =>
  error instanceof ProviderError &&
  error.kind === 'rejected' &&
  error.facts.status === 404 &&
  NOT_THERE.test(error.facts.code ?? '')

/** One message was refused, and only that one. */
export const refusesOneMessage = ({ kind, facts }: ProviderError): boolean =>
  kind === 'rejected' &&
  (facts.status === 400 || facts.status === 403) &&
  !/AccessDenied|^Authorization_/.test(facts.code ?? '')
