/** The text of batches: what Google documents, and every way in which an answer can be something else. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { BATCH_TYPE, readBatch, writeBatch } from '../../../../services/mail/provider/gmail/batch.ts'
import { batchAnswer, readBatchRequest } from '../../../simulator/gmail-batch.ts'
import { fc } from '../../../support/fast-check.ts'

const TYPE = 'multipart/mixed; boundary=b_1'
const JSON_TYPE = 'Content-Type: application/json; charset=UTF-8'
/** A part as Gmail writes it. */
const part = (at: number | string, body: string, status = '200 OK', lines = [JSON_TYPE]): string =>
  [
    'Content-Type: application/http',
    `Content-ID: <response-item-${at}>`,
    '',
    `HTTP/1.1 ${status}`,
    ...lines,
    '',
    body,
  ].join('\r\n')
const whole = (...parts: string[]): string => `${parts.map((one) => `--b_1\r\n${one}\r\n`).join('')}--b_1--\r\n`
/** Number and body of what was read. */
const read = (text: string, asked = 3, type = TYPE): [number, unknown][] =>
  [...readBatch(type, text, asked)].map(([at, { body }]): [number, unknown] => [at, body]).toSorted(([a], [b]) => a - b)

const A = part(0, '{"id":"a"}')
const B = part(1, '{"id":"b"}')
const C = part(2, '{"id":"c"}')
const ALL: [number, unknown][] = [
  [0, { id: 'a' }],
  [1, { id: 'b' }],
  [2, { id: 'c' }],
]

describe('a batch of Gmail', () => {
  it('asks as Google documents it', () => {
    assert.equal(BATCH_TYPE, 'multipart/mixed; boundary=mail-sync-batch')
    assert.equal(
      writeBatch(['/gmail/v1/users/me/messages/1?format=metadata', '/gmail/v1/users/me/messages/2']),
      [
        '--mail-sync-batch',
        'Content-Type: application/http',
        'Content-ID: <item-0>',
        '',
        'GET /gmail/v1/users/me/messages/1?format=metadata HTTP/1.1',
        '',
        '',
        '--mail-sync-batch',
        'Content-Type: application/http',
        'Content-ID: <item-1>',
        '',
        'GET /gmail/v1/users/me/messages/2 HTTP/1.1',
        '',
        '',
        '--mail-sync-batch--',
        '',
      ].join('\r\n'),
    )
  })

  it('is understood by a server that did not write it', () => {
    const paths = ['/gmail/v1/users/me/messages/a%0D%0A%0D%0A--mail-sync-batch?x=1', '/gmail/v1/users/me/messages/b']
    const request = { headers: { 'content-type': BATCH_TYPE }, body: writeBatch(paths) }
    assert.deepEqual(
      readBatchRequest(request),
      paths.map((path, at) => ({ id: `item-${at}`, method: 'GET', path })),
    )
  })

  it('reads the answers by their number, whatever their order, their line ends and the spelling of the boundary', () => {
    assert.deepEqual(read(whole(C, A, B)), ALL)
    assert.deepEqual(read(whole(A, B, C).replaceAll('\r\n', '\n')), ALL)
    assert.deepEqual(read(`a preamble\r\n${whole(A, B, C)}an epilogue`), ALL)
    assert.deepEqual(read(whole(A, B, C).replaceAll('--b_1\r\n', '--b_1 \t\r\n')), ALL)
    assert.deepEqual(read(whole(A, B, C), 3, 'Multipart/Mixed; charset=UTF-8; Boundary="b_1"'), ALL)
    assert.deepEqual(read(whole(A, B, C.replace('Content-ID', 'content-id'))), ALL)
  })

  it('reads status and headers of each, and no body that is no JSON', () => {
    const limit = part(0, '{"error":{"code":429}}', '429 Too Many Requests', [JSON_TYPE, 'Retry-After: 7', 'X-Y: z'])
    const html = part(1, '<html>', '502 Bad Gateway', ['Content-Type: text/html'])
    const parts = readBatch(TYPE, whole(limit, html, part(2, '', '204 No Content', [])), 3)
    const facts = [...parts].map(([at, { status, headers, body }]) => [at, status, [...headers], body])
    assert.deepEqual(facts, [
      [
        0,
        429,
        [
          ['content-type', 'application/json; charset=UTF-8'],
          ['retry-after', '7'],
        ],
        { error: { code: 429 } },
      ],
      [1, 502, [['content-type', 'text/html']], undefined],
      [2, 204, [], undefined],
    ])
  })

  it('has no mail that can end its part or begin another: a line break in JSON is never one', () => {
    const text = `\r\n--b_1\r\n${part(1, '{"id":"forged"}')}\r\n--b_1--\r\n`
    assert.deepEqual(read(whole(part(0, JSON.stringify({ snippet: text })), B)), [
      [0, { snippet: text }],
      [1, { id: 'b' }],
    ])
  })

  const without: Record<string, [text: string, read: [number, unknown][], type?: string]> = {
    'nothing of no multipart': ['{"id":"a"}', [], 'application/json; charset=UTF-8'],
    'nothing of a multipart of another kind': [whole(A, B, C), [], 'multipart/related; boundary=b_1'],
    'nothing without a boundary': [whole(A, B, C), [], 'multipart/mixed'],
    'nothing by another boundary': [whole(A, B, C), [], 'multipart/mixed; boundary=b_2'],
    'nothing by the beginning of a boundary': [whole(A, B, C), [], 'multipart/mixed; boundary=b_'],
    'nothing of nothing': ['', []],
    'nothing of delimiters alone': ['--b_1\r\n--b_1\r\n--b_1--', []],
    'what was cut off': [whole(A, B, C).slice(0, -20), ALL.slice(0, 2)],
    'the last, when its end is missing': [whole(A, B, C).slice(0, -9), ALL.slice(0, 2)],
    'what came twice': [whole(A, B, part(0, '{"id":"z"}')), [[1, { id: 'b' }]]],
    'what came three times': [whole(A, A, A), []],
    'what nobody asked for': [whole(A, part(3, '{}'), part('9999999', '{}')), [[0, { id: 'a' }]]],
    'what is without a number': [whole(A, B.replace(/Content-ID.*\r\n/, ''), part('', '{}')), [[0, { id: 'a' }]]],
    'what is numbered like a request': [whole(A, B.replace('response-', '')), [[0, { id: 'a' }]]],
    'what is no answer of HTTP': [whole(A, B.replace('HTTP/1.1 200', 'ICY 200')), [[0, { id: 'a' }]]],
    'what has no status': [whole(A, B.replace('200', 'OK')), [[0, { id: 'a' }]]],
    'what is empty': [whole(A, '', '\r\n\r\n'), [[0, { id: 'a' }]]],
    'the body of broken JSON': [
      whole(A, B.replace('"}', '"')),
      [
        [0, { id: 'a' }],
        [1, undefined],
      ],
    ],
  }
  for (const [name, [text, expected, type]] of Object.entries(without))
    it(`leaves out ${name}`, () => assert.deepEqual(read(text, 3, type), expected))

  it('looks no further than at twice as many parts as were asked for', () => {
    assert.deepEqual(read(whole(C, C, A, B), 2), ALL.slice(0, 2))
    assert.deepEqual(read(whole(C, C, C, C, A, B), 2), [])
    assert.deepEqual(read('\r\n--b_1'.repeat(1_000_000)), [])
  })

  it('reads back any answers that another program writes, and of a cut text a part of them', () => {
    const value = fc.jsonValue({ noUnicodeString: false }).filter((json) => typeof json === 'object' && json !== null)
    const answers = fc.array(fc.record({ status: fc.integer({ min: 200, max: 599 }), body: value }), { maxLength: 8 })
    fc.assert(
      fc.property(answers, fc.nat(), (list, cut) => {
        const parts = list.map(({ status, body }, at) => ({
          id: `item-${at}`,
          answer: { status, body: body as object },
          fault: undefined,
        }))
        const { headers, body } = batchAnswer(parts)
        const text = String(body)
        const type = headers?.['content-type'] ?? ''
        const sent = new Map(list.map((one, at) => [at, JSON.stringify([one.status, one.body])]))
        const back = (some: string) =>
          [...readBatch(type, some, list.length)].map(([at, one]): [number, string] => [
            at,
            JSON.stringify([one.status, one.body]),
          ])
        assert.deepEqual(new Map(back(text)), sent)
        for (const [at, one] of back(text.slice(0, cut % (text.length + 1)))) assert.equal(one, sent.get(at))
      }),
      { numRuns: 300 },
    )
  })

  it('never throws, whatever came', () => {
    const line = fc.constantFrom(
      '--b_1',
      '--b_1--',
      'Content-ID: <response-item-0>',
      'HTTP/1.1 200 OK',
      JSON_TYPE,
      '',
      '{}',
    )
    const text = fc.array(fc.oneof(line, fc.string({ unit: 'binary', maxLength: 20 })), { maxLength: 30 })
    const type = fc.oneof(fc.constant(TYPE), fc.string({ maxLength: 60 }))
    fc.assert(
      fc.property(text, fc.constantFrom('\r\n', '\n'), type, (lines, end, contentType) => {
        for (const at of readBatch(contentType, lines.join(end), 2).keys()) assert.ok(at === 0 || at === 1)
      }),
      { numRuns: 1_000 },
    )
  })
})
