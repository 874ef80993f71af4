/**
 * Threat T8: addresses that come from outside lead nowhere but to the provider, and carry the token nowhere else. Sixty of them
 * at three places: links in the answers of both APIs, ids that become a part of a path, positions read from the database.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { createHttp, type Http, type HttpOptions } from '../../services/mail/base/http.ts'
import { systemClock } from '../../services/mail/base/time.ts'
import { createGmail } from '../../services/mail/provider/gmail/adapter.ts'
import { createOutlook } from '../../services/mail/provider/outlook/adapter.ts'
import { type MailProvider, ProviderError } from '../../services/mail/provider/provider.ts'
import { putAudit } from '../../services/mail/store/audits.ts'
import { putLane } from '../../services/mail/store/lanes.ts'
import { newLane } from '../../services/mail/sync/commit-page.ts'
import { createDriver, type Driver } from '../contract/page-driver.ts'
import { ManualClock } from '../mail/base/manual-clock.ts'
import { ACCOUNT, EPOCH } from '../mail/store/support.ts'
import { PROVEN, plainWorker } from '../mail/sync/plain-worker.ts'
import { WorkerBox } from '../mail/sync/worker-box.ts'
import { batchAnswer, readBatchRequest } from '../simulator/gmail-batch.ts'
import { until } from '../support/until.ts'
import { hostileUrls, type Stranger, startStranger } from './hostile-urls.ts'

const CANARY = 'canary-token-5e1d'
const NEVER = new AbortController().signal
const INSIDE = /^\/(?:v1\.0\/|gmail\/v1\/|batch\/gmail\/v1$)/

type Provider = { origin: string; port: number; asked: string[]; answer: RequestListener }
type Box = AsyncDisposable & {
  provider: Provider
  stranger: Stranger
  http: Http
  urls: string[]
  gmail: () => MailProvider
  outlook: () => MailProvider
}

async function box(options: HttpOptions = {}): Promise<Box> {
  await using stack = new AsyncDisposableStack()
  const stranger = stack.use(await startStranger())
  const server = createServer((request, response) => {
    provider.asked.push(request.url ?? '')
    provider.answer(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  stack.defer(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  const origin = `http://127.0.0.1:${port}`
  const provider: Provider = { origin, port, asked: [], answer: (_, response) => response.end() }
  const http = stack.use(createHttp(options))
  const parts = stack.move()
  return {
    provider,
    stranger,
    http,
    urls: hostileUrls({ provider: port, evil: stranger.port }),
    gmail: () => createGmail({ baseUrl: origin, getUnits: 20, http }),
    outlook: () => createOutlook({ baseUrl: `${origin}/v1.0`, http }),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

type Headers = Record<string, string>

function say(response: ServerResponse, body: object, status = 200, headers: Headers = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}
const says =
  (body: object, status?: number, headers?: Headers): RequestListener =>
  (_, response) =>
    say(response, body, status, headers)

/** The same to each part of a batch; what the parts ask for is asked, too. */
async function sayToEach(request: IncomingMessage, response: ServerResponse, asked: string[]): Promise<void> {
  const type = request.headers['content-type'] ?? ''
  const parts = readBatchRequest({ headers: { 'content-type': type }, body: await text(request) }) ?? assert.fail()
  asked.push(...parts.map(({ path }) => path))
  const { headers, body } = batchAnswer(
    parts.map(({ id }) => ({ id, answer: { status: 200, body: {} }, fault: undefined })),
  )
  response.writeHead(200, headers).end(body)
}

function assertNobodyCame({ stranger, provider }: Box): void {
  assert.deepEqual([stranger.visits, stranger.heard()], [0, ''])
  assert.deepEqual(
    provider.asked.filter((path) => !INSIDE.test(path)),
    [],
  )
}

/** The step fails, and moves nothing. */
async function refuses(driver: Driver, lane: string, kind: string, note: string): Promise<void> {
  const was = structuredClone(driver.state())
  await assert.rejects(driver.step(lane), { name: 'ProviderError', kind }, note)
  assert.deepEqual(driver.state(), was, note)
}

test('there are sixty addresses, each another one', async () => {
  await using here = await box()
  assert.deepEqual([here.urls.length, new Set(here.urls).size], [60, 60])
})

test('links in the answers of Graph', async () => {
  await using here = await box()
  for (const url of here.urls)
    for (const link of ['@odata.nextLink', '@odata.deltaLink']) {
      here.provider.answer = says({ value: [], [link]: url })
      const driver = createDriver(here.outlook, CANARY)
      for (const lane of ['folders', 'folder:abc', 'refill:abc', 'audit:abc']) {
        // A plain list has no delta link.
        if (link === '@odata.deltaLink' && !lane.startsWith('folder')) continue
        await refuses(driver, lane, 'transient', `${lane} ${link} ${JSON.stringify(url)}`)
      }
    }
  assertNobodyCame(here)
  assert.equal(here.provider.asked.length, here.urls.length * 6)
})

test('where Graph says that a forgotten walk starts again', async () => {
  await using here = await box()
  for (const url of here.urls.filter((text) => /^[\x21-\x7e]+$/.test(text))) {
    here.provider.answer = says({ error: { code: 'SyncStateNotFound', message: 'gone' } }, 410, { location: url })
    const driver = createDriver(here.outlook, CANARY)
    driver.state().lanes['folder:abc'] = { cursor: `${here.provider.origin}/v1.0/me/x?$skiptoken=1`, done: false }
    await driver.step('folder:abc')
    assert.deepEqual(driver.state().lanes['folder:abc'], { cursor: null, done: false }, url)
  }
  assertNobodyCame(here)
})

test('page tokens and ids of Gmail, ids of Graph: parts of a path or a query, never an address', async () => {
  await using here = await box()
  const ids = here.urls
  here.provider.answer = (request, response) => {
    const { url = '' } = request
    if (url.startsWith('/batch/')) return void sayToEach(request, response, here.provider.asked)
    const asked = new URL(url, here.provider.origin).searchParams
    const at = asked.has('pageToken') ? ids.indexOf(asked.get('pageToken') ?? '') : -1
    const list = { messages: [{ id: ids[at + 1] ?? 'last' }], nextPageToken: ids[at + 1], resultSizeEstimate: 1 }
    say(response, url.includes('/messages?') ? list : {})
  }
  const gmail = createDriver(here.gmail, CANARY)
  gmail.state().lanes = { enum: { cursor: null, done: false } }
  for (let pages = 0; pages <= ids.length; pages++) await gmail.step('enum')
  assert.equal(gmail.state().queue.length, ids.length + 1)
  gmail.state().lanes.drain = { cursor: null, done: true }
  while (gmail.state().queue.length > 0) await gmail.step('drain')
  assert.equal(Object.keys(gmail.state().aside).length, ids.length + 1, 'each was asked for and is none')
  const outlook = createDriver(here.outlook, CANARY)
  here.provider.answer = says({ error: { code: 'ErrorItemNotFound', message: '' } }, 404)
  for (const id of ids) await outlook.step(`folder:${id}`)
  assertNobodyCame(here)
})

test('positions that a worker reads from the database: forgotten, and the walk starts again', async () => {
  await using here = await box()
  await using worker = new WorkerBox()
  here.provider.answer = ({ url = '' }, response) => {
    const { pathname } = new URL(url, here.provider.origin)
    const end = { value: [], '@odata.deltaLink': `${here.provider.origin}${pathname}?$deltatoken=good` }
    say(response, end)
  }
  const folders = here.urls.map((_, at) => ({ id: `f${at}`, parent: null, name: 'x', known: 'inbox', total: 0 }))
  const good = `${here.provider.origin}/v1.0/me/mailFolders/delta?$deltatoken=good`
  worker.store.commit(ACCOUNT.userId, EPOCH, (tx) => {
    const put = (lane: string, cursor: string) => putLane(tx, ACCOUNT, { ...newLane(lane), cursor, done: false })
    put('folders', JSON.stringify({ link: good, tree: folders, next: null }))
    for (const [at, url] of here.urls.entries()) put(`folder:f${at}`, url)
    putAudit(tx, ACCOUNT, PROVEN)
  })
  const { end } = worker.start({ ...plainWorker(systemClock), clock: systemClock, provider: here.outlook() })
  const moved = () => [...worker.lanes().values()].filter(({ cursor, done }) => done && cursor?.includes('good'))
  await until('each lane stands at a good position', () => moved().length === here.urls.length + 1)
  await end()
  const restarted = [...worker.lanes().values()].filter(({ resets }) => resets === 1)
  assert.equal(restarted.length, here.urls.length)
  for (const url of here.urls) {
    const driver = createDriver(here.outlook, CANARY)
    const was = here.provider.asked.length
    for (const [lane, cursor] of [
      ['folders', JSON.stringify({ link: url, tree: [], next: null })],
      ['refill:x', JSON.stringify({ pass: 1, fresh: 0, link: url })],
    ] as const) {
      driver.state().lanes[lane] = { cursor, done: false }
      await assert.rejects(driver.ask(lane), { kind: 'gone' }, JSON.stringify(url))
    }
    assert.equal(here.provider.asked.length, was)
  }
  assertNobodyCame(here)
})

test('redirects are not followed', async () => {
  await using here = await box()
  for (const status of [300, 301, 302, 303, 305, 307, 308])
    for (const [make, lane] of [
      [here.gmail, 'history'],
      [here.outlook, 'folders'],
    ] as const) {
      here.provider.answer = says({}, status, { location: `http://127.0.0.1:${here.stranger.port}/v1.0/me` })
      await refuses(createDriver(make, CANARY), lane, 'transient', `${status} ${lane}`)
    }
  assertNobodyCame(here)
})

test('control: without the gate most of these addresses reach who waits there, with the token', async () => {
  await using here = await box()
  for (const text of here.urls) {
    const url = URL.parse(text)
    // A name with a dot at its end may be looked up outside.
    if (url === null || url.hostname === 'localhost.') continue
    const headers = { authorization: `Bearer ${CANARY}` }
    await here.http.fetch(url, { headers, signal: NEVER }).catch(() => null)
  }
  assert.ok(here.stranger.visits >= 35, `${here.stranger.visits} of ${here.urls.length}`)
  assert.ok(here.stranger.heard().includes(CANARY))
})

/** An answer that never ends in one of three ways, and how it is cut. */
const ENDLESS: Record<string, { code: string; answer: RequestListener }> = {
  'a slow drip': {
    code: 'DEADLINE',
    answer: (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).write('{"value":[')
      const drip = setInterval(() => response.write(' '), 20)
      response.once('close', () => clearInterval(drip))
    },
  },
  'a gzip bomb': {
    code: 'TOO_LARGE',
    answer: (_, response) => {
      const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' }
      response.writeHead(200, headers).end(gzipSync(Buffer.alloc(64 * 1024 ** 2, ' ')))
    },
  },
  'a bomb in a bomb': {
    code: 'TOO_LARGE',
    answer: (_, response) => {
      const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip, gzip' }
      response.writeHead(200, headers).end(gzipSync(gzipSync(Buffer.alloc(64 * 1024 ** 2, ' '))))
    },
  },
  'a body without an end': {
    code: 'TOO_LARGE',
    answer: (_, response) => {
      const chunk = Buffer.alloc(1024 ** 2, ' ')
      const more = (): void => {
        while (response.writable && response.write(chunk));
      }
      response.writeHead(200, { 'content-type': 'application/json' }).on('drain', more)
      more()
    },
  },
}

for (const [name, { code, answer }] of Object.entries(ENDLESS))
  test(`${name} is cut, by the limits that the service has`, async () => {
    const clock = new ManualClock()
    await using here = await box({ clock })
    here.provider.answer = answer
    for (const [make, lane] of [
      [here.gmail, 'history'],
      [here.outlook, 'folders'],
    ] as const) {
      const driver = createDriver(make, CANARY)
      const was = structuredClone(driver.state())
      const asked = here.provider.asked.length
      const failed = driver.step(lane).then(
        () => assert.fail('a page came'),
        (error: unknown) => error,
      )
      await until('the provider was asked', () => here.provider.asked.length > asked)
      if (code === 'DEADLINE') await clock.advance(30_000)
      const error = await failed
      assert.ok(error instanceof ProviderError, String(error))
      assert.deepEqual([error.kind, error.facts.code], ['transient', code])
      assert.deepEqual(driver.state(), was)
    }
  })
