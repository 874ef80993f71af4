/** What a take says when single messages go wrong: which are set aside, and when it is the account's fault. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Secret } from '#shared/secret.ts'
import type { Http } from '../../../services/mail/base/http.ts'
import { createGmail } from '../../../services/mail/provider/gmail/adapter.ts'
import { createOutlook } from '../../../services/mail/provider/outlook/adapter.ts'
import { type Page, type PageRequest, ProviderError } from '../../../services/mail/provider/provider.ts'
import { plainLimiter } from '../../contract/page-driver.ts'
import { batchAnswer, readBatchRequest } from '../../simulator/gmail-batch.ts'
import { pageRequest } from './page-request.ts'

type Answer = { status: number; body: unknown }
const PROVIDERS = ['google', 'microsoft'] as const
type Provider = (typeof PROVIDERS)[number]
/** A way to ask: all of a take at once, or one by one. */
const WAYS = [
  { name: 'google', provider: 'google', retried: [] },
  { name: 'google, asked before', provider: 'google', retried: ['b1', 'b2', 'bad', 'g1', 'g2', 'm1', 'm2', 'slow'] },
  { name: 'microsoft', provider: 'microsoft', retried: [] },
] as const
const TREE = JSON.stringify({
  link: null,
  tree: [{ id: 'in', parent: null, name: 'Inbox', known: 'inbox', total: 1 }],
  next: null,
})

const GOOD: Record<Provider, (id: string) => Answer> = {
  google: (id) => ({ status: 200, body: { id, threadId: id, labelIds: ['INBOX'], payload: { headers: [] } } }),
  microsoft: (id) => ({
    status: 200,
    body: { id, isDraft: false, parentFolderId: 'in', receivedDateTime: null, subject: null, toRecipients: [] },
  }),
}
/** A refusal in the provider's own words. */
const refusal = (provider: Provider, status: number, code: string): Answer =>
  provider === 'google'
    ? { status, body: { error: { code: status, message: 'no', errors: [{ reason: code }] } } }
    : { status, body: { error: { code, message: 'no' } } }

/** Everything below the adapter but the socket. */
function httpTo(answerTo: (id: string) => Answer): Http {
  const json = { 'content-type': 'application/json' }
  const idOf = (path: string) => decodeURIComponent(new URL(path, 'http://x').pathname.split('/').at(-1) ?? '')
  const answer = (path: string) => {
    const { status, body } = answerTo(idOf(path))
    return { status, headers: json, body: JSON.stringify(body) }
  }
  return {
    ask(url, request) {
      return this.fetch(url, request)
    },
    async fetch(url, request) {
      if (url.pathname !== '/batch/gmail/v1') {
        const { status, headers, body } = answer(url.pathname)
        return new Response(body, { status, headers })
      }
      const parts = readBatchRequest({ headers: request.headers ?? {}, body: request.body ?? '' }) ?? assert.fail()
      const { status, headers, body } = batchAnswer(
        parts.map(({ id, path }) => ({ id, answer: answer(path), fault: undefined })),
      )
      return new Response(String(body), { status, headers: headers ?? {} })
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}

/** One page of `drain`; messages that `answers` does not name are good ones. */
async function drain(
  { provider, retried }: (typeof WAYS)[number],
  take: string[],
  answers: Record<string, Answer>,
  more: Partial<PageRequest> = {},
): Promise<Page> {
  const http = httpTo((id) => answers[id] ?? GOOD[provider](id))
  const baseUrl = 'http://127.0.0.1:1'
  const adapter =
    provider === 'google'
      ? createGmail({ baseUrl, getUnits: 1, http })
      : createOutlook({ baseUrl: `${baseUrl}/v1.0`, http })
  const request = pageRequest({ take, retried: new Set(retried), cursorOf: () => TREE, ...more })
  const { signal } = new AbortController()
  const call = { accessToken: new Secret('t'), limiter: plainLimiter(1), priority: 'backfill' as const, signal }
  return await adapter.page(request, call)
}
const outcome = (page: Page) => [page.messages.map(({ id }) => id), page.failed.map(({ id, reason }) => [id, reason])]
const kindOf = (error: unknown) => (error instanceof ProviderError ? error.kind : String(error))

for (const way of WAYS) {
  const { name, provider } = way
  const all = (status: number, code: string, ...ids: string[]) =>
    Object.fromEntries(ids.map((id) => [id, refusal(provider, status, code)]))

  test(`${name}: whatever one message is answered, the others of the take come`, async () => {
    const statuses = [403, 405, 409, 410, 412, 423, 451, 500, 503]
    for (const status of statuses) {
      const page = await drain(way, ['bad', 'g1', 'g2'], all(status, 'ErrorAccessDenied', 'bad'))
      const reason = status >= 500 ? 'unavailable' : 'refused'
      assert.deepEqual(outcome(page), [['g1', 'g2'], [['bad', reason]]], String(status))
      assert.equal(page.failed[0]?.facts?.status, status)
    }
    for (const body of ['text', null, 7]) {
      const page = await drain(way, ['bad', 'g1'], { bad: { status: 200, body } })
      assert.deepEqual(outcome(page), [['g1'], [['bad', 'unavailable']]])
    }
  })

  test(`${name}: a take that fails as a whole is thrown, and never restarts the lane`, async () => {
    for (const [status, kind] of [
      [410, 'rejected'],
      [423, 'rejected'],
      [500, 'transient'],
    ] as const)
      for (const take of [['b1'], ['b1', 'b2']])
        await assert.rejects(drain(way, take, all(status, 'odd', ...take)), (error) => kindOf(error) === kind)
  })

  test(`${name}: a take that fails as a whole is set aside once the account is known to answer`, async () => {
    const bad = { ...all(423, 'odd', 'b1'), ...all(500, 'odd', 'b2') }
    const page = await drain(way, ['b1', 'b2'], bad, { accountAnswers: true })
    assert.deepEqual(outcome(page), [
      [],
      [
        ['b1', 'refused'],
        ['b2', 'unavailable'],
      ],
    ])
  })

  test(`${name}: a refused grant and throttling are never one message's`, async () => {
    const take = ['g1', 'bad', 'slow', 'g2']
    const sure = { accountAnswers: true }
    const denied = drain(way, take, all(401, 'odd', 'slow'), sure)
    await assert.rejects(denied, (error) => kindOf(error) === 'auth')
    const slow = { ...all(500, 'odd', 'bad'), ...all(429, 'odd', 'slow', 'g2') }
    const page = await drain(way, take, slow, sure)
    assert.deepEqual(outcome(page), [['g1'], [['bad', 'unavailable']]])
    assert.equal(kindOf(page.cutOff), 'throttled')
    const nothing = drain(way, ['slow', 'g2'], slow, sure)
    await assert.rejects(nothing, (error) => kindOf(error) === 'throttled')
  })

  test(`${name}: only a 404 about the message means that it is missing`, async () => {
    const [about, away] =
      provider === 'google'
        ? ['notFound', 'mailServiceNotEnabled']
        : ['ErrorItemNotFound', 'MailboxNotEnabledForRESTAPI']
    const gone = await drain(way, ['m1', 'm2'], all(404, about, 'm1', 'm2'))
    assert.deepEqual(
      gone.failed.map(({ reason }) => reason),
      ['missing', 'missing'],
    )
    const refused = drain(way, ['m1', 'm2'], all(404, away, 'm1', 'm2'))
    await assert.rejects(refused, (error) => kindOf(error) === 'rejected')
  })
}
