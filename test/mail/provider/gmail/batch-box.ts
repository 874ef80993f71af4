/** One take of Gmail's `drain` against answers that a test writes, and what was asked for it. */
import assert from 'node:assert/strict'
import { Secret } from '#shared/secret.ts'
import type { Http, HttpRequest } from '../../../../services/mail/base/http.ts'
import { type Clock, systemClock } from '../../../../services/mail/base/time.ts'
import { createGmail } from '../../../../services/mail/provider/gmail/adapter.ts'
import {
  type Limiter,
  type Page,
  type PageRequest,
  ProviderError,
} from '../../../../services/mail/provider/provider.ts'
import { batchAnswer, type PartAnswer, readBatchRequest } from '../../../simulator/gmail-batch.ts'
import type { Answer } from '../../../simulator/types.ts'
import { pageRequest } from '../page-request.ts'

const ORIGIN = 'http://127.0.0.1:1'
const JSON_TYPE = { 'content-type': 'application/json' }
export const DATE = 'Fri, 11 Sep 2026 19:59:00 GMT'
export const mail = (id: string): Answer => ({
  status: 200,
  body: { id, threadId: id, labelIds: [], payload: { headers: [] } },
})
export const refusal = (
  status: number,
  reason: string,
  message = 'no',
  headers: Record<string, string> = {},
): Answer => ({
  status,
  headers: { ...JSON_TYPE, ...headers },
  body: { error: { code: status, message, errors: [{ reason }] } },
})
const idOf = (path: string): string => decodeURIComponent(/messages\/([^?]+)/.exec(path)?.[1] ?? '')

type Asked = {
  batches: string[][]
  alone: string[]
  turns: number[]
  told: unknown[]
  refused: unknown[]
  sent: HttpRequest[]
}

/**
 * One page of `drain` against a Gmail that a test writes.
 * @param answers what single messages are answered, in a batch or alone; others are mail
 * @param whole changes the answer to a batch
 */
export async function drain(
  take: string[],
  {
    answers = {},
    whole = batchAnswer,
    sizes = [],
    clock = systemClock,
    pausedMs = 0,
    ...more
  }: Partial<PageRequest> & {
    answers?: Record<string, Answer>
    whole?: (parts: PartAnswer[]) => Answer
    sizes?: number[]
    clock?: Clock
    pausedMs?: number
  } = {},
): Promise<{ page: Page | null; error: ProviderError | null; asked: Asked }> {
  const asked: Asked = { batches: [], alone: [], turns: [], told: [], refused: [], sent: [] }
  const toResponse = ({ status, headers = JSON_TYPE, body }: Answer): Response =>
    new Response(typeof body === 'object' ? JSON.stringify(body) : (body ?? null), { status, headers })
  const http: Http = {
    ask(url, request) {
      return this.fetch(url, request)
    },
    async fetch(url, request) {
      const answerTo = (id: string) => answers[id] ?? mail(id)
      if (url.pathname !== '/batch/gmail/v1') {
        asked.alone.push(idOf(url.pathname))
        return toResponse(answerTo(idOf(url.pathname)))
      }
      asked.sent.push(request)
      const parts = readBatchRequest({ headers: request.headers ?? {}, body: request.body ?? '' }) ?? assert.fail()
      asked.batches.push(parts.map(({ path }) => idOf(path)))
      return toResponse(whole(parts.map(({ id, path }) => ({ id, answer: answerTo(idOf(path)), fault: undefined }))))
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
  const limiter: Limiter = {
    batchSize: () => sizes.shift() ?? 25,
    pausedMs,
    refused: (facts) => void asked.refused.push([facts.retryAfterMs, facts.scope]),
    async run(cost, _priority, signal, request) {
      signal.throwIfAborted()
      asked.turns.push(cost)
      try {
        return await request(signal)
      } catch (error) {
        asked.told.push(error)
        throw error
      }
    },
  }
  const request = pageRequest({ take, ...more })
  const { signal } = new AbortController()
  const call = { accessToken: new Secret('t'), limiter, priority: 'backfill' as const, signal }
  const adapter = createGmail({ baseUrl: ORIGIN, getUnits: 20, http, clock })
  return await adapter.page(request, call).then(
    (page) => ({ page, error: null, asked }),
    (error: ProviderError) => ({ page: null, error, asked }),
  )
}

export const cutOff = (page: Page | null) => {
  const { kind, facts } = page?.cutOff instanceof ProviderError ? page.cutOff : assert.fail('the page was not cut off')
  return [kind, facts.retryAfterMs, facts.scope]
}
export const came = (page: Page | null) => [
  page?.messages.map(({ id }) => id),
  page?.failed.map(({ id, reason }) => [id, reason]),
]

export const both = (answer: Answer) => ({ a: answer, b: answer })
