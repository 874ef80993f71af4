/** What a take makes of each answer to a batch: whose fault it is, what is asked for alone, and what the limiter is told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../../../services/mail/base/time.ts'
import type { ProviderError } from '../../../../services/mail/provider/provider.ts'
import { batchAnswer, type PartAnswer } from '../../../simulator/gmail-batch.ts'
import type { Answer } from '../../../simulator/types.ts'
import { both, came, cutOff, DATE, drain, mail, refusal } from './batch-box.ts'

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

const hundred = Array.from({ length: 100 }, (_, i) => `m${i}`)
/** A clock that each batch moves on. */
function takingTime(ms: number) {
  let nowMs = 0
  const whole = (parts: PartAnswer[]): Answer => {
    nowMs += ms
    return batchAnswer(parts)
  }
  return { clock: { ...systemClock, monoMs: () => nowMs }, whole }
}

test('a take asks for batch after batch as long as they come quickly', async () => {
  const quick = await drain(hundred, takingTime(10))
  assert.deepEqual([quick.asked.batches.length, quick.page?.messages.length], [4, 100])
  const slower = await drain(hundred, takingTime(150))
  assert.deepEqual([slower.asked.batches.length, slower.page?.messages.length], [2, 50])
  assert.deepEqual([slower.page?.failed, slower.page?.drop], [[], []], 'of the others nothing is said')
})

test('where the quota lets few through, a take waits until it is worth a transaction, or five seconds', async () => {
  const sizes = () => hundred.map(() => 7)
  const some = await drain(hundred, { ...takingTime(1_000), sizes: sizes() })
  assert.equal(some.asked.batches.length, 4)
  const few = await drain(hundred, { ...takingTime(2_000), sizes: sizes() })
  assert.equal(few.asked.batches.length, 3)
})

test('a take ends with the batch that is under way when new mail waits for its end', async () => {
  const { page, asked } = await drain(hundred, { ...takingTime(10), hurries: (next) => next === 'm25' })
  assert.deepEqual([asked.batches.length, page?.messages.length], [1, 25])
  const paused = await drain(hundred, { ...takingTime(10), pausedMs: 1 })
  assert.equal(paused.asked.batches.length, 1, 'and in a pause')
})

test('of many that are asked for alone a take has 25', async () => {
  const { page, asked } = await drain(hundred, { retried: new Set(hundred.slice(10)) })
  assert.deepEqual([asked.batches.length, asked.alone.length, page?.messages.length], [1, 25, 35])
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
  'lets no batch through': { status: 413, headers: { 'content-type': 'text/html' }, body: '<html>' },
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
  assert.deepEqual(cutOff(page), ['throttled', 7_000, 'mailbox'])
  assert.deepEqual(
    asked.told.map((error) => (error as ProviderError).kind),
    ['throttled'],
  )
  assert.deepEqual([asked.batches.length, asked.turns], [1, [80]], 'the rest of the take gave up its turn')
})

test('of several throttled parts each holds whom it names, and the longest wait is told', async () => {
  const project = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service."
  const answers = {
    a: refusal(429, 'rateLimitExceeded', 'no', { 'retry-after': '5' }),
    b: refusal(429, 'rateLimitExceeded', 'no', { 'retry-after': '60' }),
    c: refusal(429, 'rateLimitExceeded', project, { 'retry-after': '9' }),
  }
  const { page, asked } = await drain(['a', 'b', 'c', 'd'], { answers })
  assert.deepEqual(asked.refused, [
    [5_000, 'mailbox'],
    [60_000, 'mailbox'],
    [9_000, 'project'],
  ])
  assert.deepEqual(cutOff(page), ['throttled', 60_000, 'mailbox'])
})

test('a batch without an answer is the fault of no message, also when another one has come; nothing more is asked', async () => {
  let batches = 0
  const whole = (parts: PartAnswer[]): Answer => (++batches === 2 ? refusal(503, 'backendError') : batchAnswer(parts))
  const { page, asked } = await drain(['a', 'b', 'c', 'd', 'e', 'f'], { whole, sizes: [2, 2, 2] })
  assert.deepEqual([came(page), cutOff(page)[0], asked.batches.length], [[['a', 'b'], []], 'transient', 2])
  batches = 0
  const sure = await drain(['a', 'b', 'c', 'd', 'e', 'f'], { whole, sizes: [2, 2, 2], accountAnswers: true })
  const blamed = ['c', 'd'].map((id) => [id, 'unavailable'])
  assert.deepEqual([came(sure.page), cutOff(sure.page)[0]], [[['a', 'b'], blamed], 'transient'])
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
