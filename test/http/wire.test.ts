/** The bridge over a bare socket: bodies in chunks, and bytes that never become a request. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { REQUEST_MAX_BYTES } from '#shared/contract.ts'
import { ERRORS, type ErrorBody, type ErrorCode } from '#shared/errors.ts'
import { type BridgeBox, bridgeBox } from './bridge-box.ts'

let box: BridgeBox
let jwt: string
before(async () => {
  box = await bridgeBox()
  jwt = await (await box.auth.signUp('ada@example.com')).jwt()
})
after(() => box[Symbol.asyncDispose]())

type Answer = { status: number; headers: string; body: string }

/** Sends the parts as they are and reads until the server closes, or until the answer is whole. */
function exchange(...parts: (string | Uint8Array)[]): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(box.url).port), '127.0.0.1')
    let text = ''
    const done = (): void => {
      const [head = '', body = ''] = text.split('\r\n\r\n')
      socket.destroy()
      resolve({ status: Number(head.split(' ')[1]), headers: head.toLowerCase(), body })
    }
    socket.setTimeout(15_000, () => socket.destroy(new Error('no answer')))
    socket.on('error', (error) => (text === '' ? reject(error) : done()))
    socket.on('close', done)
    socket.on('data', (chunk) => {
      text += chunk.toString()
      const length = /content-length: (\d+)/i.exec(text)?.[1]
      const bodyAt = text.indexOf('\r\n\r\n') + 4
      if (length !== undefined && bodyAt > 3 && text.length >= bodyAt + Number(length)) done()
    })
    for (const part of parts) socket.write(part)
  })
}

const head = (path: string, ...more: string[]): string =>
  [`POST ${path} HTTP/1.1`, 'Host: x', `Authorization: Bearer ${jwt}`, 'Content-Type: application/json', ...more]
    .map((line) => `${line}\r\n`)
    .join('')
const chunked = (body: string, size: number): string[] => {
  const chunks = Array.from({ length: Math.ceil(body.length / size) }, (_, i) => body.slice(i * size, (i + 1) * size))
  return [...chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`), '0\r\n\r\n']
}
const sendChunked = (body: string, size: number): Promise<Answer> =>
  exchange(head('/mail/disconnect', 'Transfer-Encoding: chunked', ''), ...chunked(body, size))
const padded = (bytes: number): string => '{"provider":"microsoft"}'.padEnd(bytes)

function assertRefused(answer: Answer, status: number, code: ErrorCode): ErrorBody['error'] {
  assert.equal(answer.status, status, answer.body)
  const { error } = JSON.parse(answer.body) as ErrorBody
  assert.deepEqual(Object.keys(error), ['code', 'message', 'hint', 'details', 'request_id'])
  assert.deepEqual([error.code, error.message, error.hint], [code, ERRORS[code].message, ERRORS[code].hint])
  assert.ok(answer.headers.includes(`x-request-id: ${error.request_id}`))
  assert.match(answer.headers, /content-type: application\/json/)
  return error
}

test('a body in chunks is read like any other, up to the limit', async () => {
  for (const size of [5, 1_000, 65_536]) {
    const answer = await sendChunked(padded(size === 5 ? 24 : REQUEST_MAX_BYTES), size)
    assert.deepEqual([answer.status, answer.body], [200, '{"message":"mail sync stopped"}'])
  }
})

test('a body in chunks that goes beyond the limit, or never ends, is refused as too large', async () => {
  assertRefused(await sendChunked(padded(REQUEST_MAX_BYTES + 1), 4_096), 413, 'TOO_LARGE')
  const endless = Array.from({ length: 20 }, () => `1000\r\n${' '.repeat(4_096)}\r\n`)
  const answer = await exchange(head('/mail/disconnect', 'Transfer-Encoding: chunked', ''), ...endless)
  assertRefused(answer, 413, 'TOO_LARGE')
  assert.match(answer.headers, /connection: close/)
})

test('a body whose announced length is too large is refused before it comes', async () => {
  const answer = await exchange(head('/mail/disconnect', `Content-Length: ${REQUEST_MAX_BYTES + 1}`, ''))
  assertRefused(answer, 413, 'TOO_LARGE')
})

test('JSON that is nested deeply is refused for what it is, as over NATS', async () => {
  const deep = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
  for (const body of [deep(32_000), `{"provider":${deep(15_000)}}`])
    assertRefused(await sendChunked(body, 32_768), 400, 'BAD_REQUEST')
})

test('what never becomes a request has the body of every error', async (t) => {
  const get = (...lines: string[]): string =>
    `GET /healthz HTTP/1.1\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`
  const cases: [string, string, number, ErrorCode, string?][] = [
    ['no HTTP', 'asdf\r\n\r\n', 400, 'BAD_REQUEST'],
    ['no Host', get(), 400, 'BAD_REQUEST', 'Host'],
    ['a bad Host', get('Host: a b'), 400, 'BAD_REQUEST', 'Host'],
    ['a Host with a path', get('Host: a/../b?x#'), 400, 'BAD_REQUEST', 'Host'],
    ['another scheme', 'GET ftp://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'BAD_REQUEST', 'Host'],
    ['headers that are too large', get('Host: x', `X: ${'a'.repeat(20_000)}`), 431, 'TOO_LARGE'],
    ['an unknown expectation', get('Host: x', 'Expect: foo'), 417, 'BAD_REQUEST', 'Expect'],
    ['a broken chunk', head('/mail/disconnect', 'Transfer-Encoding: chunked', '', 'zz'), 400, 'BAD_REQUEST'],
    ['a body that does not come', head('/mail/disconnect', 'Content-Length: 9', ''), 408, 'TIMEOUT'],
  ]
  for (const [name, bytes, status, code, path] of cases)
    await t.test(name, async () => {
      const answer = await exchange(bytes)
      const { details } = assertRefused(answer, status, code)
      assert.match(answer.headers, /connection: close/)
      if (path !== undefined) assert.match(JSON.stringify(details), new RegExp(`"path":"${path}"`))
    })
  assert.equal(box.logged.filter((line) => line.includes('"level":50')).length, 0)
})

test('a key that is a token never gets into the log of the bridge', async () => {
  const answer = await sendChunked('{"1//CANARY":"x"}', 32)
  assertRefused(answer, 400, 'BAD_REQUEST')
  const query = await fetch(`${box.url}/mail/status?CANARY=CANARY`, { headers: { authorization: `Bearer ${jwt}` } })
  assert.equal(query.status, 400)
  assert.ok(box.logged.length > 0)
  assert.doesNotMatch(box.logged.join(''), /CANARY/)
})

test('a token that no header can carry is refused and its text is never logged', async () => {
  const seen = box.service.seen.length
  const more = { provider: 'google', refresh_token: 'CANARY', expires_in: 1 }
  for (const access_token of ['CANARY\nTOKEN', 'CANARY\u0007', 'CANARY€', '\ud800'])
    assertRefused(
      await exchange(
        head('/mail/connect', 'Transfer-Encoding: chunked', ''),
        ...chunked(JSON.stringify({ ...more, access_token }).replaceAll(/[^\x20-\x7e]/g, '\\u20ac'), 32),
      ),
      400,
      'BAD_REQUEST',
    )
  assert.equal(box.service.seen.length, seen)
  assert.doesNotMatch(box.logged.join(''), /CANARY/)
})
