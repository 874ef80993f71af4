import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { createHttp, HttpError, type HttpErrorCode } from '../../../services/mail/base/http.ts'
import { freePort } from '../../support/free-port.ts'
import { until } from '../../support/until.ts'

const NEVER = new AbortController().signal

async function serve(listener: RequestListener) {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: new URL(`http://127.0.0.1:${port}/x?secret=canary`),
    server,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

const failsAs = (code: HttpErrorCode) => (error: unknown) => {
  assert.ok(error instanceof HttpError, String(error))
  assert.equal(error.code, code)
  assert.doesNotMatch(error.message, /canary/)
  return true
}

describe('HTTP to the providers', () => {
  it('reads an answer whole, whatever its status, with its headers', async () => {
    await using peer = await serve((request, response) => {
      response.writeHead(429, { 'retry-after': '7', 'content-type': 'application/json' })
      response.end(JSON.stringify({ method: request.method, auth: request.headers.authorization }))
    })
    await using http = createHttp()
    const answer = await http.fetch(peer.url, {
      method: 'POST',
      headers: { authorization: 'A' },
      body: 'x',
      signal: NEVER,
    })
    assert.equal(answer.status, 429)
    assert.ok(answer.headers instanceof Headers)
    assert.equal(answer.headers.get('retry-after'), '7')
    assert.deepEqual(await answer.json(), { method: 'POST', auth: 'A' })
  })

  it('cuts an answer that drips slower than the deadline, and one that never comes', async () => {
    for (const listener of [
      (_: unknown, response: Parameters<RequestListener>[1]) => {
        const drip = setInterval(() => response.write('.'), 20)
        response.once('close', () => clearInterval(drip))
      },
      () => undefined,
    ]) {
      await using peer = await serve(listener)
      await using http = createHttp({ deadlineMs: 200 })
      await assert.rejects(http.fetch(peer.url, { signal: NEVER }), failsAs('DEADLINE'))
    }
  })

  it('refuses an answer that is too large, also when it was sent compressed', async () => {
    const bomb = gzipSync(Buffer.alloc(1_000_000))
    await using peer = await serve((request, response) => {
      const isPacked = request.headers['x-packed'] === '1'
      response.writeHead(200, isPacked ? { 'content-encoding': 'gzip' } : {})
      response.end(isPacked ? bomb : Buffer.alloc(100_001))
    })
    await using http = createHttp({ maxBytes: 100_000 })
    await assert.rejects(http.fetch(peer.url, { signal: NEVER }), failsAs('TOO_LARGE'))
    await assert.rejects(http.fetch(peer.url, { headers: { 'x-packed': '1' }, signal: NEVER }), failsAs('TOO_LARGE'))
    await using wide = createHttp({ maxBytes: 1_000_000 })
    const answer = await wide.fetch(peer.url, { headers: { 'x-packed': '1' }, signal: NEVER })
    assert.equal((await answer.arrayBuffer()).byteLength, 1_000_000)
  })

  it('asks for gzip by a name that says so, and takes one that was cut off for broken', async () => {
    const packed = gzipSync('{"a":1}')
    const sent = { 'the whole': packed, 'a cut one': packed.subarray(0, -9), 'no gzip': Buffer.from('{"a":1}') }
    await using peer = await serve((request, response) => {
      const { 'accept-encoding': coding, 'user-agent': name, 'x-body': body } = request.headers
      const isAsked = coding === 'gzip' && name?.includes('gzip') === true
      response.writeHead(isAsked ? 200 : 406, { 'content-encoding': 'GZIP' })
      response.end(sent[String(body) as keyof typeof sent])
    })
    await using http = createHttp()
    const ask = (body: keyof typeof sent) => http.fetch(peer.url, { headers: { 'x-body': body }, signal: NEVER })
    assert.deepEqual(await (await ask('the whole')).json(), { a: 1 })
    await assert.rejects(ask('a cut one'), failsAs('NETWORK'))
    await assert.rejects(ask('no gzip'), failsAs('NETWORK'))
  })

  it('uses connections again', async () => {
    const sockets = new Set<unknown>()
    await using peer = await serve((request, response) => {
      sockets.add(request.socket)
      response.end('ok')
    })
    await using http = createHttp()
    for (let at = 0; at < 20; at++) await http.fetch(peer.url, { signal: NEVER })
    assert.ok(sockets.size <= 2, `${sockets.size}`)
  })

  it('follows no redirect', async () => {
    let visits = 0
    await using elsewhere = await serve((_, response) => {
      visits++
      response.end()
    })
    await using peer = await serve((request, response) => {
      response.writeHead(Number(request.headers['x-status']), { location: elsewhere.url.href }).end()
    })
    await using http = createHttp()
    for (const status of ['301', '302', '303', '307', '308']) {
      const asked = http.fetch(peer.url, { headers: { authorization: 'Bearer t', 'x-status': status }, signal: NEVER })
      await assert.rejects(asked, failsAs('REDIRECT'))
    }
    assert.equal(visits, 0)
  })

  it('rejects with the reason of the signal, before and during the request', async () => {
    let arrived = 0
    await using peer = await serve(() => {
      arrived++
    })
    await using http = createHttp()
    const reason = new Error('lease lost')
    await assert.rejects(http.fetch(peer.url, { signal: AbortSignal.abort(reason) }), reason)
    assert.equal(arrived, 0)
    const stop = new AbortController()
    const asked = assert.rejects(http.fetch(peer.url, { signal: stop.signal }), reason)
    await until('the request arrived', () => arrived === 1)
    stop.abort(reason)
    await asked
  })

  it('cuts off what waits for a connection, however many do, at the deadline and when it is told to', async () => {
    await using peer = await serve(() => undefined)
    await using narrow = createHttp({ connections: 1, deadlineMs: 300 })
    const waiting = Array.from({ length: 5 }, () =>
      assert.rejects(narrow.fetch(peer.url, { signal: NEVER }), failsAs('DEADLINE')),
    )
    const [reason, stop] = [new Error('lease lost'), new AbortController()]
    const asked = assert.rejects(narrow.fetch(peer.url, { signal: stop.signal }), reason)
    stop.abort(reason)
    await asked
    await Promise.all(waiting)
    // A peer that takes connections and says nothing, where a protocol is to be agreed on first.
    await using stack = new AsyncDisposableStack()
    // Else the client's side of it stays until `connectMs` is over, and this file with it.
    const silent = createTcpServer((socket) => stack.defer(() => void socket.destroy())).listen(0, '127.0.0.1')
    stack.defer(() => void silent.close())
    await once(silent, 'listening')
    await using http = createHttp({ connectMs: 60_000, deadlineMs: 300 })
    const url = new URL(`https://127.0.0.1:${(silent.address() as AddressInfo).port}/`)
    const all = Array.from({ length: 5 }, () => assert.rejects(http.fetch(url, { signal: NEVER }), failsAs('DEADLINE')))
    await Promise.all(all)
  })

  it('sends nothing of what was given up while it waited for a connection', async () => {
    const seen: string[] = []
    const first = Promise.withResolvers<void>()
    await using peer = await serve((request, response) => {
      seen.push(request.method ?? '')
      void first.promise.then(() => response.end('{}'))
    })
    await using http = createHttp({ connections: 1 })
    const asked = http.fetch(peer.url, { signal: NEVER })
    await until('it is on its way', () => seen.length === 1)
    const stop = new AbortController()
    const waiting = http.fetch(peer.url, { method: 'DELETE', signal: stop.signal })
    stop.abort(new Error('lease lost'))
    await assert.rejects(waiting, /lease lost/)
    first.resolve()
    await asked
    await http.fetch(peer.url, { method: 'POST', body: 'x', signal: NEVER })
    assert.deepEqual(seen, ['GET', 'POST'])
  })

  it('takes no more requests than may wait', async () => {
    await using peer = await serve(() => undefined)
    await using http = createHttp({ connections: 1, maxOpen: 2, deadlineMs: 300 })
    const waiting = [1, 2].map(() => assert.rejects(http.fetch(peer.url, { signal: NEVER }), failsAs('DEADLINE')))
    await assert.rejects(http.fetch(peer.url, { signal: NEVER }), failsAs('BUSY'))
    await Promise.all(waiting)
  })

  it('names a refused connection and a broken body as faults of the network', async () => {
    const port = await freePort()
    await using peer = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 100 })
      response.write('half', () => response.socket?.destroy())
    })
    await using http = createHttp()
    await assert.rejects(http.fetch(new URL(`http://127.0.0.1:${port}/`), { signal: NEVER }), failsAs('NETWORK'))
    await assert.rejects(http.fetch(peer.url, { signal: NEVER }), failsAs('NETWORK'))
    await using unpackable = await serve((_, response) =>
      response.writeHead(200, { 'content-encoding': 'gzip' }).end('{}'),
    )
    await assert.rejects(http.fetch(unpackable.url, { signal: NEVER }), failsAs('NETWORK'))
  })

  it('asks for packed answers', async () => {
    await using peer = await serve((request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' })
      response.end(gzipSync(String(request.headers['accept-encoding'])))
    })
    await using http = createHttp()
    assert.equal(await (await http.fetch(peer.url, { signal: NEVER })).text(), 'gzip')
  })

  it('opens no more connections than allowed; the rest waits its turn', async () => {
    const sockets = new Set<unknown>()
    await using peer = await serve((request, response) => {
      sockets.add(request.socket)
      setImmediate(() => response.end('ok'))
    })
    await using http = createHttp({ connections: 3 })
    const answers = await Promise.all(Array.from({ length: 40 }, () => http.fetch(peer.url, { signal: NEVER })))
    assert.ok(answers.every(({ ok }) => ok))
    assert.ok(sockets.size <= 3)
  })

  it('ends what is under way when it is disposed', async () => {
    let arrived = 0
    await using peer = await serve(() => {
      arrived++
    })
    const http = createHttp()
    const asked = assert.rejects(http.fetch(peer.url, { signal: NEVER }), failsAs('CLOSED'))
    await until('the request arrived', () => arrived === 1)
    await http[Symbol.asyncDispose]()
    await http[Symbol.asyncDispose]()
    await asked
    await assert.rejects(http.fetch(peer.url, { signal: NEVER }), failsAs('CLOSED'))
  })
})
