/** A page that names a few new mails, and what becomes of it when they are fetched with it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Secret } from '#shared/secret.ts'
import type { Fetcher } from '../../../services/mail/provider/drain.ts'
import { fetchNamed } from '../../../services/mail/provider/fetch-named.ts'
import { emptyPage, type Page, type PageRequest, ProviderError } from '../../../services/mail/provider/provider.ts'
import { plainLimiter } from '../../contract/page-driver.ts'
import { mail } from '../store/support.ts'
import { pageRequest } from './page-request.ts'

const ids = (n: number) => Array.from({ length: n }, (_, i) => `m${i}`)
const refusal = (kind: ConstructorParameters<typeof ProviderError>[0], status: number) =>
  new ProviderError(kind, { operation: 'get', status })
const MOVED = { lane: 'history', cursor: 'h2', done: true }
const named = (some: string[], more: Partial<Page> = {}): Page => ({
  ...emptyPage(),
  enqueue: { ids: some, urgent: true },
  lanes: [MOVED],
  ...more,
})

/** @param refuses what single messages are answered; those whose name begins with `draft` are no event */
async function fetchedWith(
  page: Page,
  refuses: Record<string, unknown> = {},
  more: Partial<PageRequest> & { signal?: AbortSignal } = {},
) {
  const asked: string[] = []
  const fetcher: Fetcher = {
    operation: 'get',
    cost: 1,
    async get(id) {
      asked.push(id)
      if (id in refuses) throw refuses[id]
      return {}
    },
    judge: (id) => (id.startsWith('draft') ? { is: 'noEvent', filter: 'DRAFT' } : { is: 'mail', meta: mail(id) }),
    isMissing: ({ facts }) => facts.status === 404,
    refusesOne: ({ facts }) => facts.status === 403,
  }
  const { signal = new AbortController().signal, ...rest } = more
  const request = pageRequest({ lane: 'history', cursor: 'h1', fetchesNew: true, ...rest })
  const call = { accessToken: new Secret('t'), limiter: plainLimiter(1), priority: 'incremental' as const, signal }
  const came = await fetchNamed(page, () => fetcher, request, call)
  return { came, asked }
}
const outcome = ({ messages, enqueue, drop, lanes, failed }: Page) => ({
  mails: messages.map(({ id }) => id),
  queued: enqueue.ids,
  drop,
  moved: lanes.length,
  failed: failed.length,
})

test('a few mails come in the order in which they are named, and nothing is left for the queue', async () => {
  const { came, asked } = await fetchedWith(named(['b', 'draft', 'a'], { drop: ['deleted'] }))
  assert.deepEqual(outcome(came), { mails: ['b', 'a'], queued: [], drop: ['deleted'], moved: 1, failed: 0 })
  assert.deepEqual(asked, ['b', 'draft', 'a'])
})

test('what waited already leaves the queue with it', async () => {
  const { came } = await fetchedWith(
    named(['a', 'draft', 'bad']),
    { bad: refusal('rejected', 403) },
    { queued: (some) => new Set(some.filter((id) => id !== 'x')) },
  )
  assert.deepEqual(outcome(came), { mails: ['a'], queued: ['bad'], drop: ['a', 'draft'], moved: 1, failed: 0 })
})

test('more than 25, a page without any, and a request that does not allow it stay as they are', async () => {
  for (const [page, more] of [
    [named(ids(26)), {}],
    [named([]), {}],
    [named(['a']), { fetchesNew: false }],
  ] as const) {
    const { came, asked } = await fetchedWith(page, {}, more)
    assert.equal(came, page)
    assert.deepEqual(asked, [])
  }
  const { came } = await fetchedWith(named(ids(25)))
  assert.equal(came.messages.length, 25)
})

for (const [what, error] of [
  ['is not there', refusal('gone', 404)],
  ['is refused', refusal('rejected', 403)],
  ['is not answered', refusal('transient', 503)],
  ['cannot be asked for', new Error('of our own')],
] as const)
  test(`a message that ${what} waits to be fetched, before all others, and the page moves on`, async () => {
    const { came } = await fetchedWith(named(['a', 'bad', 'b']), { bad: error })
    assert.deepEqual(outcome(came), { mails: ['a', 'b'], queued: ['bad'], drop: [], moved: 1, failed: 0 })
    assert.deepEqual([came.enqueue.urgent, came.cutOff], [true, undefined])
  })

test('when none comes, all of them wait to be fetched: the page itself was answered', async () => {
  const { came } = await fetchedWith(named(['a', 'b']), { a: refusal('transient', 500), b: refusal('transient', 502) })
  assert.deepEqual(outcome(came), { mails: [], queued: ['a', 'b'], drop: [], moved: 1, failed: 0 })
  assert.equal(came.cutOff, undefined)
})

test('a pause of the account holds, whether or not something came before it', async () => {
  const throttled = refusal('throttled', 429)
  for (const some of [['a', 'late'], ['late']]) {
    const { came } = await fetchedWith(named(some), { late: throttled })
    assert.deepEqual(outcome(came).mails, some.slice(0, -1))
    assert.deepEqual([came.enqueue.ids, came.cutOff], [['late'], throttled])
  }
})

test('a refused token throws the page away: it is asked for again with another', async () => {
  const refused = refusal('auth', 401)
  await assert.rejects(fetchedWith(named(['a', 'b']), { b: refused }), refused)
  const stop = new AbortController()
  const stopped = new Error('stopped')
  stop.abort(stopped)
  await assert.rejects(fetchedWith(named(['a']), {}, { signal: stop.signal }), stopped)
})
