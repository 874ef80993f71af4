/**
 * Threats T12 and T13: wrong answers of a provider, through the real clients and adapters. None ends in anything but a page or a
 * ProviderError, no position moves by an answer that is not right, and nothing that cannot be stored gets out.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Secret } from '#shared/secret.ts'
import type { Http, HttpRequest } from '../../services/mail/base/http.ts'
import type { MessageMeta } from '../../services/mail/base/model.ts'
import { createGmail } from '../../services/mail/provider/gmail/adapter.ts'
import { createOutlook } from '../../services/mail/provider/outlook/adapter.ts'
import {
  type Call,
  type Limiter,
  type MailProvider,
  type Page,
  type PageRequest,
  ProviderError,
} from '../../services/mail/provider/provider.ts'
import { batchAnswer, readBatchRequest } from '../simulator/gmail-batch.ts'
import { cases, chunks, heapBytes } from './amount.ts'
import { type Answer, type Recipe, recipes, wrongAnswer, wrongBytes } from './mutate.ts'
import { FOLDERS, GMAIL_LANES, GRAPH_LANES, ORIGIN, rightAnswer } from './right-answers.ts'
import { assertStorable } from './storable.ts'

const ANSWERS = cases(4_000, 100_000)
const HEAP_MAX_GROWTH_BYTES = 32 * 1024 ** 2
const NO_BODY = new Set([101, 204, 205, 304])
const CANARY = 'canary-token-a41c'
const NEVER = new AbortController().signal

const isBatch = ({ pathname }: URL): boolean => pathname.startsWith('/batch/')

/** Each part is answered as the request alone would be; every third batch is itself spoilt in the end. */
function answerBatch(
  { headers = {}, body = '' }: HttpRequest,
  recipe: Recipe | null,
  to: (url: URL) => Answer,
): Answer {
  const asked = readBatchRequest({ headers, body }) ?? assert.fail(body)
  const parts = asked.map(({ id, path }) => {
    const { body: text, ...answer } = to(new URL(path, ORIGIN))
    return { id, answer: { ...answer, body: text.toString() }, fault: undefined }
  })
  const whole = batchAnswer(parts)
  const right = { status: whole.status, headers: whole.headers ?? {}, body: Buffer.from(String(whole.body)) }
  return recipe !== null && recipe.lane % 3 === 0 ? wrongBytes(right, recipe) : right
}

/** Everything below the adapter but the socket: answers each request, the n-th of a page by a recipe. */
function forger() {
  const state = { recipe: null as Recipe | null, nth: 0, statuses: [] as number[] }
  const answerTo = (url: URL): Answer => {
    const { recipe } = state
    const right = rightAnswer(url)
    if (recipe === null || recipe.nth !== state.nth++)
      return { status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(right)) }
    const wrong = wrongAnswer(right, recipe)
    state.statuses.push(wrong.status)
    return wrong
  }
  const http: Http = {
    ask(url, request) {
      return this.fetch(url, request)
    },
    async fetch(url, request) {
      const { status, headers, body } = isBatch(url) ? answerBatch(request, state.recipe, answerTo) : answerTo(url)
      return new Response(NO_BODY.has(status) ? null : body, { status, headers })
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
  return { state, http }
}

const atOnce: Limiter = {
  batchSize: () => 25,
  pausedMs: 0,
  refused: () => undefined,
  run: (_cost, _priority, signal, request) => request(signal),
}
const call: Call = { accessToken: new Secret(CANARY), limiter: atOnce, priority: 'backfill', signal: NEVER }
const requestOf = (lane: string, cursor: string | null): PageRequest => ({
  lane,
  cursor,
  take: lane === 'drain' ? ['m1', 'm2'] : [],
  retried: new Set(),
  known: () => new Set(),
  published: () => new Set(),
  queued: () => new Set(),
  cursorOf: (other) => (other === 'folders' ? FOLDERS : undefined),
  accountAnswers: false,
  fetchesNew: false,
  hurries: () => false,
})

/** A page that moved something came of right answers only. */
function assertPage(page: Page, [lane, cursor]: [string, string | null], statuses: readonly number[]): void {
  assert.ok(moves(page, cursor), `nothing moves: ${JSON.stringify(page)}`)
  for (const meta of page.messages) assertStorable(meta)
  const ids = [...page.enqueue.ids, ...page.drop, ...page.failed.map(({ id }) => id)]
  for (const id of ids) assert.ok(id.length > 0 && id.length <= 1_024 && id.isWellFormed())
  for (const { lane: name, cursor: next } of page.lanes) {
    assert.ok(name.length <= 1_100 && name.isWellFormed())
    if (next !== null) assert.ok(next.isWellFormed() && !next.includes(CANARY))
  }
  // Single messages and well-known folders may be refused; the list itself may not.
  const isList = !lane.startsWith('drain') && !lane.startsWith('audit') && !lane.startsWith('refill')
  if (isList && lane !== 'folders' && statuses.some((status) => status !== 200)) assert.deepEqual(page.lanes, [])
}

async function ask(provider: MailProvider, lane: string, cursor: string | null): Promise<Page | null> {
  if (lane === 'identify') {
    const { mailbox, address, totalEstimate } = await provider.identify(call)
    assert.ok(mailbox.length > 0 && mailbox.length <= 1_024)
    assert.ok(address === null || (address.length > 0 && address.length <= 320 && address.isWellFormed()))
    assert.ok(totalEstimate === null || typeof totalEstimate === 'number')
    return null
  }
  if (lane === 'look') {
    await provider.look('m1', requestOf(lane, null), call)
    return null
  }
  return await provider.page(requestOf(lane, cursor), call)
}

type Outcomes = { pages: number; kinds: Record<string, number> }

/** One wrong answer; everything that may not happen throws. */
async function meet(provider: MailProvider, lane: [string, string | null], statuses: number[], outcomes: Outcomes) {
  try {
    const page = await ask(provider, ...lane)
    if (page !== null) assertPage(page, lane, statuses)
    outcomes.pages++
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error
    const { retryAfterMs = 0 } = error.facts
    assert.ok(retryAfterMs >= 0 && Number.isSafeInteger(retryAfterMs), String(retryAfterMs))
    assert.ok(!JSON.stringify([error.message, error.facts]).includes(CANARY))
    outcomes.kinds[error.kind] = (outcomes.kinds[error.kind] ?? 0) + 1
  }
  assert.ok(!('polluted' in {}), 'a prototype was changed')
}

/** What a page says, it has moved: one that says nothing would be asked for again and again. */
const moves = (page: Page, cursor: string | null): boolean =>
  page.lanes.some((lane) => lane.done || lane.cursor !== cursor) ||
  [page.messages, page.drop, page.failed, page.enqueue.ids, page.dropLanes].some((list) => list.length > 0) ||
  page.cutOff !== undefined ||
  !page.more

/** Odd recipes go to one provider, even ones to the other; @returns bytes that the second half has left behind */
async function feed(http: Http, state: ReturnType<typeof forger>['state'], count: number, outcomes: Outcomes) {
  const providers = [
    { provider: createGmail({ baseUrl: ORIGIN, getUnits: 1, http }), lanes: GMAIL_LANES },
    { provider: createOutlook({ baseUrl: `${ORIGIN}/v1.0`, http }), lanes: GRAPH_LANES },
  ]
  let at = 0
  let settledBytes = 0
  for (const chunk of chunks(recipes, count)) {
    for (const recipe of chunk) {
      const { provider, lanes } = providers[at++ % 2] ?? assert.fail()
      const lane = lanes[recipe.lane % lanes.length] ?? assert.fail()
      Object.assign(state, { recipe, nth: 0, statuses: [] })
      try {
        await meet(provider, lane, state.statuses, outcomes)
      } catch (error) {
        throw new Error(`${provider.name} ${lane.join(' ')} ${JSON.stringify(recipe)}`, { cause: error })
      }
    }
    if (settledBytes === 0 && at >= count / 2) settledBytes = heapBytes()
  }
  return heapBytes() - settledBytes
}

test('wrong answers: a page that moves or a named fault, and no position that nobody has told', async (t) => {
  const { http, state } = forger()
  const outcomes: Outcomes = { pages: 0, kinds: {} }
  const grown = await feed(http, state, ANSWERS, outcomes)
  t.diagnostic(`${ANSWERS} wrong answers, ${grown} bytes more after the second half: ${JSON.stringify(outcomes)}`)
  // The answers are wrong in many ways, and not all of them.
  assert.ok(outcomes.pages > 0)
  for (const kind of ['auth', 'gone', 'throttled', 'transient', 'rejected']) assert.ok(outcomes.kinds[kind], kind)
  assert.ok(grown < HEAP_MAX_GROWTH_BYTES, `${grown} bytes`)
})

function planted(): never {
  throw new TypeError('planted')
}
const withMeta =
  (more: Partial<MessageMeta>) =>
  (right: Page): Page => ({ ...right, messages: right.messages.map((meta) => ({ ...meta, ...more })) })
/** The adapter with a fault in it, and what is thrown then. */
const FAULTY: Record<string, [page: (right: Page) => Page, noticed: RegExp]> = {
  'it throws': [planted, /planted/],
  'a text that cannot be stored': [withMeta({ subject: '\ud800' }), /ud800/],
  'a subject of two lines': [withMeta({ subject: 'a\nb' }), /not match/],
  'a date that is none': [withMeta({ msgDate: Number.NaN }), /NaN/],
  'nothing moves, and there is more': [
    (right) => ({
      ...right,
      messages: [],
      drop: [],
      failed: [],
      lanes: [],
      enqueue: { ...right.enqueue, ids: [] },
      more: true,
    }),
    /nothing moves/,
  ],
  'a position with the token in it': [
    (right) => ({ ...right, lanes: right.lanes.map((lane) => ({ ...lane, cursor: CANARY })) }),
    /falsy/,
  ],
  'an error with the token in it': [
    () => {
      throw new ProviderError('transient', { operation: CANARY })
    },
    /falsy/,
  ],
}

test('control: an adapter that throws, stands still, tells the token or lets through what cannot be stored is noticed', async () => {
  const { http } = forger()
  const right = createOutlook({ baseUrl: `${ORIGIN}/v1.0`, http })
  const lane: [string, string | null] = ['folder:abc', null]
  const outcomes: Outcomes = { pages: 0, kinds: {} }
  await meet(right, lane, [], outcomes)
  assert.deepEqual(outcomes, { pages: 1, kinds: {} })
  for (const [name, [spoil, noticed]] of Object.entries(FAULTY)) {
    const page = async (...args: Parameters<MailProvider['page']>): Promise<Page> => spoil(await right.page(...args))
    await assert.rejects(meet({ ...right, page }, lane, [], outcomes), noticed, name)
  }
})
