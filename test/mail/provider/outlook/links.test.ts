/** Links in Graph's answers and in stored cursors must not carry the token anywhere else (threat T8). */
import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { createHttp } from '../../../../services/mail/base/http.ts'
import { createOutlook } from '../../../../services/mail/provider/outlook/adapter.ts'
import type { ProviderError } from '../../../../services/mail/provider/provider.ts'
import { createDriver } from '../../../contract/page-driver.ts'

async function serve(listener: RequestListener) {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

/** A Graph whose every answer goes on at `link()`, and a stranger who counts his visitors. */
async function trap(link: (graph: string, evil: string) => string) {
  await using stack = new AsyncDisposableStack()
  const visits: string[] = []
  const evil = stack.use(
    await serve((request, response) => {
      visits.push(String(request.headers.authorization))
      response.end()
    }),
  )
  let asked = 0
  const graph = stack.use(
    await serve((request, response) => {
      asked++
      const origin = `http://${request.headers.host}`
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ value: [], '@odata.nextLink': link(origin, evil.origin) }))
    }),
  )
  const http = stack.use(createHttp())
  const make = () => createOutlook({ baseUrl: `${graph.origin}/v1.0`, http })
  const owned = stack.move()
  return {
    driver: createDriver(make, 'canary'),
    graph,
    evil,
    visits,
    asked: () => asked,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

const HOSTILE: ((graph: string, evil: string) => string)[] = [
  (_, evil) => `${evil}/v1.0/me/mailFolders/delta?$skiptoken=x`,
  (graph, evil) => `${graph.replace('http://', 'http://x@')}${evil.replace('http://', '@')}/v1.0/me`,
  (graph, evil) => `${graph}\\@${evil.slice(7)}/v1.0/me`,
  (graph) => `${graph}/beta/me`,
  (graph) => `${graph}/v1.0/../internal`,
  () => '/v1.0/me',
  () => 'https://169.254.169.254/v1.0/me',
  () => 'not a link',
]

describe('links of Graph', () => {
  it('that lead elsewhere make the answer a bad one: nothing moves', async () => {
    for (const link of HOSTILE) {
      await using box = await trap(link)
      const was = structuredClone(box.driver.state())
      await assert.rejects(box.driver.step('folders'), { kind: 'transient' })
      assert.deepEqual(box.driver.state(), was)
      assert.deepEqual(box.visits, [])
    }
  })

  it('that lead elsewhere in a stored cursor are forgotten, and nobody is asked', async () => {
    for (const link of HOSTILE) {
      await using box = await trap((graph) => `${graph}/v1.0/me/mailFolders/delta?$skiptoken=x`)
      const cursor = link(box.graph.origin, box.evil.origin)
      box.driver.state().lanes['folder:abc'] = { cursor, done: false }
      await assert.rejects(box.driver.ask('folder:abc'), { kind: 'gone' })
      box.driver.state().lanes.folders = { cursor: JSON.stringify({ link: cursor, tree: [], next: null }), done: false }
      await assert.rejects(box.driver.ask('folders'), { kind: 'gone' })
      assert.deepEqual([box.asked(), box.visits], [0, []])
    }
  })

  it('that carry another address in their query reach Graph with it, and nobody else', async () => {
    let pages = 0
    await using box = await trap(
      (graph, evil) =>
        `${graph}/v1.0/me/mailFolders/delta?page=${pages++}&$skiptoken=${evil.replace('http', 'https')}/v1.0/me`,
    )
    await box.driver.step('folders')
    await box.driver.step('folders')
    assert.deepEqual([box.asked(), box.visits], [2, []])
  })

  for (const lane of ['folders', 'folder:abc', 'refill:abc'])
    it(`that lead to the very page that was asked for are not followed for ever: ${lane}`, async () => {
      await using box = await trap((graph) => `${graph}/v1.0/me/the-same-page`)
      await box.driver.step(lane)
      const was = structuredClone(box.driver.state())
      await assert.rejects(box.driver.step(lane), (error: ProviderError) => error.facts.code === 'PAGE_TOKEN_REPEATS')
      assert.deepEqual(box.driver.state(), was)
    })
})
