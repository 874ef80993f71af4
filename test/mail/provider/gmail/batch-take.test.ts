/** What a take makes of each answer to a batch: whose fault it is, what is asked for alone, and what the limiter is told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Secret } from '#shared/secret.ts'
import type { Http, HttpRequest } from '../../../../services/mail/base/http.ts'
import { createGmail } from '../../../../services/mail/provider/gmail/adapter.ts'
import type { Limiter, Page, PageRequest, ProviderError } from '../../../../services/mail/provider/provider.ts'
import { batchAnswer, type PartAnswer, readBatchRequest } from '../../../simulator/gmail-batch.ts'
import type { Answer } from '../../../simulator/types.ts'

const ORIGIN = 'http://127.0.0.1:1'
const JSON_TYPE = { 'content-type': 'application/json' }
const DATE = 'Fri, 11 Sep 2026 19:59:00 GMT'
const mail = (id: string): Answer => ({
  status: 200,
  body: { id, threadId: id, labelIds: [], payload: { headers: [] } },
})
const refusal = (status: number, reason: string, message = 'no', headers: Record<string, string> = {}): Answer => ({
  status,
  headers: { ...JSON_TYPE, ...headers },
  body: { error: { code: status, message, errors: [{ reason }] } },
})
const idOf = (path: string): string => decodeURIComponent(/messages\/([^?]+)/.exec(path)?.[1] ?? '')

type Asked = { batches: string[][]; alone: string[]; turns: number[]; told: unknown[]; sent: HttpRequest[] }

/**
 * One page of `drain` against a Gmail that a test writes.
 * @param answers what single messages are answered, in a batch or alone; others are mail
 * @param whole changes the answer to a batch
 */
async function drain(
  take: string[],
  {
    answers = {},
    whole = batchAnswer,
    sizes = [],
    ...more
  }: Partial<PageRequest> & {
    answers?: Record<string, Answer>
    whole?: (parts: PartAnswer[]) => Answer
    sizes?: number[]
  } = {},
): Promise<{ page: Page | null; error: ProviderError | null; asked: Asked }> {
  const asked: Asked = { batches: [], alone: [], turns: [], told: [], sent: [] }
  const toResponse = ({ status, headers = JSON_TYPE, body }: Answer): Response =>
    new Response(typeof body === 'object' ? JSON.stringify(body) : (body ?? null), { status, headers })
  const http: Http = {
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
  const request: PageRequest = {
    lane: 'drain',
    cursor: null,
    take,
    retried: new Set(),
    known: () => new Set(),
    published: () => new Set(),
    queued: () => new Set(),
    cursorOf: () => undefined,
    accountAnswers: false,
    ...more,
  }
  const { signal } = new AbortController()
  const call = { accessToken: new Secret('t'), limiter, priority: 'backfill' as const, signal }
  const adapter = createGmail({ baseUrl: ORIGIN, getUnits: 20, http })
  return await adapter.page(request, call).then(
    (page) => ({ page, error: null, asked }),
    (error: ProviderError) => ({ page: null, error, asked }),
  )
}

const came = (page: Page | null) => [
  page?.messages.map(({ id }) => id),
  page?.failed.map(({ id, reason }) => [id, reason]),
]

test('a take is one request, paid for message by message, with the token and the type outside', async () => {
  const { page, asked } = await drain(['a', 'b', 'c'])
  assert.deepEqual(came(page), [['a', 'b', 'c'], []])
  assert.deepEqual([asked.batches, asked.alone, asked.turns], [[['a', 'b', 'c']], [], [60]])
  const [sent] = asked.sent
  assert.equal(sent?.method, 'POST')
  assert.equal(sent?.headers?.authorization, 'Bearer t')
  assert.ok(!sent?.body?.includes('Bearer'))
  assert.match(sent?.body ?? '', /GET \/gmail\/v1\/users\/me\/messages\/a\?format=metadata&metadataHeaders=From&meta/)
})

test('the limiter says how many go into each batch; a single one goes alone', async () => {
  const { page, asked } = await drain(['a', 'b', 'c', 'd', 'e', 'f'], { sizes: [2, 3, 1] })
  assert.equal(page?.messages.length, 6)
  assert.deepEqual(
    [asked.batches, asked.alone, asked.turns],
    [
      [
        ['a', 'b'],
        ['c', 'd', 'e'],
      ],
      ['f'],
      [40, 60, 20],
    ],
  )
})

test('ids are encoded: none of them ends its request', async () => {
  const ids = ['a\r\n\r\n--mail-sync-batch--', 'b/../../x?y#z', 'c d', '\u{1f4e7}', '..']
  const { page, asked } = await drain(ids)
  assert.deepEqual(asked.batches, [ids])
  assert.deepEqual(
    page?.messages.map(({ id }) => id),
    ids,
  )
})

const SPOILT: Record<string, (parts: PartAnswer[]) => Answer> = {
  'that is missing': (parts) => batchAnswer(parts.filter(({ id }) => id !== 'item-1')),
  'that came twice': (parts) => batchAnswer([...parts, ...parts.slice(1, 2)]),
  'that was cut off': (parts) =>
    batchAnswer(parts.map((one) => (one.id === 'item-1' ? { ...one, fault: 'truncate' } : one))),
  'that is no answer': (parts) => {
    const { body, ...rest } = batchAnswer(parts)
    return { ...rest, body: String(body).replace(/(response-item-1>\r\n\r\n)HTTP/, '$1ICY') }
  },
}
for (const [name, whole] of Object.entries(SPOILT))
  test(`a part ${name} is that message's: it is set aside, the others come, and it is asked for alone`, async () => {
    const { page, asked } = await drain(['a', 'bad', 'c'], { whole })
    assert.deepEqual(came(page), [['a', 'c'], [['bad', 'unavailable']]])
    const { facts } = page?.failed[0] ?? {}
    assert.deepEqual([facts?.operation, facts?.status], ['gmail.messages.get', 200])
    assert.deepEqual([asked.batches.length, asked.alone, asked.told], [1, [], []], 'not in the same page')
    const later = await drain(['bad', 'd', 'e'], { retried: new Set(['bad']) })
    assert.deepEqual([later.asked.batches, later.asked.alone], [[['d', 'e']], ['bad']])
    assert.equal(later.page?.messages.length, 3)
  })

test('of an answer that was cut, all parts before the cut count', async () => {
  const whole = (parts: PartAnswer[]): Answer => {
    const { body, ...rest } = batchAnswer(parts)
    return { ...rest, body: String(body).slice(0, -60) }
  }
  // The answers come in reverse.
  assert.deepEqual(came((await drain(['a', 'b', 'c'], { whole })).page), [['b', 'c'], [['a', 'unavailable']]])
})

test('an answer that swaps two messages is no answer to either', async () => {
  const { page } = await drain(['a', 'b', 'c'], { answers: { a: mail('b'), b: mail('a') } })
  assert.deepEqual(came(page), [
    ['c'],
    [
      ['a', 'unreadable'],
      ['b', 'unreadable'],
    ],
  ])
})

const NOT_ONE: Record<string, [answer: Answer, kind: string, code: string | undefined]> = {
  'a refused token': [refusal(401, 'authError'), 'auth', 'authError'],
  'a limit': [refusal(429, 'rateLimitExceeded', 'no', { 'retry-after': '7' }), 'throttled', 'rateLimitExceeded'],
  'a limit in a 403': [refusal(403, 'userRateLimitExceeded'), 'throttled', 'userRateLimitExceeded'],
  'a fault of the server': [refusal(500, 'backendError'), 'transient', 'backendError'],
  'an error of something in between': [
    { status: 502, headers: { 'content-type': 'text/html' }, body: '<html>' },
    'transient',
    '',
  ],
  'another content type': [{ status: 200, body: mail('a').body ?? '' }, 'transient', 'BAD_SHAPE'],
  'a page to sign in': [
    { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' },
    'transient',
    'BAD_SHAPE',
  ],
  'no body': [{ ...batchAnswer([]), body: '' }, 'transient', 'BAD_SHAPE'],
  'no part': [batchAnswer([]), 'transient', 'BAD_SHAPE'],
  'another boundary': [
    { ...batchAnswer([]), headers: { 'content-type': 'multipart/mixed; boundary=x' } },
    'transient',
    'BAD_SHAPE',
  ],
  'another success': [{ ...batchAnswer([]), status: 206 }, 'transient', ''],
}
for (const [name, [answer, kind, code]] of Object.entries(NOT_ONE))
  test(`a batch answered with ${name} is the fault of no message, and nothing else is asked`, async () => {
    const { error, asked } = await drain(['a', 'b'], { whole: () => answer })
    assert.deepEqual([error?.kind, error?.facts.operation, error?.facts.code ?? ''], [kind, 'gmail.batch', code])
    assert.deepEqual([asked.batches.length, asked.alone, asked.told.length], [1, [], 1])
  })

test('a batch that fails for an account that answers is set aside, and then asked for one by one', async () => {
  const whole = (): Answer => refusal(500, 'backendError')
  const { page } = await drain(['a', 'b'], { whole, accountAnswers: true })
  assert.deepEqual(came(page), [
    [],
    [
      ['a', 'unavailable'],
      ['b', 'unavailable'],
    ],
  ])
  const { page: later, asked } = await drain(['a', 'b'], { whole, retried: new Set(['a', 'b']) })
  assert.deepEqual([came(later), asked.batches], [[['a', 'b'], []], []])
})

const NO_BATCH: Record<string, Answer> = {
  'does not know batches': { status: 404, headers: { 'content-type': 'text/plain' }, body: 'Not Found' },
  'does not know the address': refusal(404, 'notFound'),
  'takes no POST': { status: 405, body: '' },
  'does not understand the batch': refusal(400, 'invalidArgument'),
  'finds one message in no state to be read': refusal(400, 'failedPrecondition'),
  'may not read': refusal(403, 'insufficientPermissions'),
}
for (const [name, answer] of Object.entries(NO_BATCH))
  test(`a server that ${name} is asked for each message by itself`, async () => {
    const { page, asked } = await drain(['a', 'b'], { whole: () => answer })
    assert.deepEqual(came(page), [['a', 'b'], []])
    assert.deepEqual([asked.batches.length, asked.alone, asked.turns], [1, ['a', 'b'], [40, 20, 20]])
  })

test('a part that is throttled holds the mailbox at once, whatever the others are; what came counts, nothing more is asked', async () => {
  const late = refusal(429, 'rateLimitExceeded', 'Too many concurrent requests for user.', { 'retry-after': '7' })
  const answers = { b: late, c: refusal(500, 'backendError'), d: refusal(404, 'notFound') }
  const { page, asked } = await drain(['a', 'b', 'c', 'd', 'e', 'f'], { answers, sizes: [4, 2] })
  assert.deepEqual(came(page), [
    ['a'],
    [
      ['d', 'missing'],
      ['c', 'unavailable'],
    ],
  ])
  assert.deepEqual([page?.throttled?.retryAfterMs, page?.throttled?.scope], [7_000, 'mailbox'])
  assert.deepEqual(
    asked.told.map((error) => (error as ProviderError).kind),
    ['throttled'],
  )
  assert.deepEqual([asked.batches.length, asked.turns], [1, [80]], 'the rest of the take gave up its turn')
})

test('a part that names a time is measured by the clock of the whole answer', async () => {
  const text = 'User-rate limit exceeded.  Retry after 2026-09-11T20:00:00.000Z'
  const whole = (parts: PartAnswer[]): Answer => {
    const { headers, ...rest } = batchAnswer(parts)
    return { ...rest, headers: { ...headers, date: DATE } }
  }
  const { error } = await drain(['a', 'b'], { answers: both(refusal(403, 'userRateLimitExceeded', text)), whole })
  assert.deepEqual([error?.kind, error?.facts.retryAfterMs], ['throttled', 60_000])
})

const both = (answer: Answer) => ({ a: answer, b: answer })

test('a part whose token was refused is the account’s, and is told before all others', async () => {
  const answers = { b: refusal(401, 'authError'), c: refusal(429, 'rateLimitExceeded') }
  const { error, asked } = await drain(['a', 'b', 'c', 'd', 'e'], { answers, sizes: [3, 2] })
  assert.equal(error?.kind, 'auth')
  assert.deepEqual(
    asked.told.map((one) => (one as ProviderError).kind),
    ['throttled'],
    'the limiter waits all the same',
  )
  assert.equal(asked.batches.length, 1)
})
