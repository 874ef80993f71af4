import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as v from 'valibot'
import { gmailMeta, HEADERS } from '../../../../services/mail/provider/gmail/normalize.ts'
import { Message } from '../../../../services/mail/provider/gmail/schemas.ts'
import { fc } from '../../../support/fast-check.ts'

type Line = [name: string, value: string]
const meta = (lines: Line[], more: object = {}) => {
  const headers = lines.map(([name, value]) => ({ name, value }))
  return gmailMeta(v.parse(Message, { id: 'm1', threadId: 't1', payload: { headers }, ...more }))
}

describe('a Gmail message', () => {
  it('becomes what an event needs', () => {
    const message = meta(
      [
        ['Received', 'by mx'],
        ['FROM', '=?utf-8?Q?J=C3=BCrgen?= <j@x.org>'],
        ['To', 'Team: a@x.org, "B, C" <b@y.org>;'],
        ['CC', 'c@x.org'],
        ['cc', 'd@x.org'],
        ['subject', '=?utf-8?B?4pyT?=\r\n done'],
        ['Message-Id', '<1@x>'],
      ],
      {
        labelIds: ['INBOX', 'UNREAD'],
        snippet: 'Tom &amp; Jerry &lt;b&gt; &#39;x&#39; &copy',
        internalDate: '1699999990123',
      },
    )
    assert.deepEqual(message, {
      id: 'm1',
      threadId: 't1',
      msgDate: 1_699_999_990,
      subject: '✓ done',
      sender: 'j@x.org',
      to: ['a@x.org', 'b@y.org'],
      cc: ['c@x.org', 'd@x.org'],
      bcc: [],
      snippet: "Tom & Jerry <b> 'x' &copy",
      headers: {
        From: '=?utf-8?Q?J=C3=BCrgen?= <j@x.org>',
        To: 'Team: a@x.org, "B, C" <b@y.org>;',
        Cc: 'c@x.org\nd@x.org',
        Subject: '=?utf-8?B?4pyT?=\r\n done',
        'Message-ID': '<1@x>',
      },
      labels: ['INBOX', 'UNREAD'],
    })
  })

  it('without anything but an id is still a message', () => {
    assert.deepEqual(gmailMeta(v.parse(Message, { id: 'm1', payload: {} })), {
      id: 'm1',
      threadId: null,
      msgDate: null,
      subject: '',
      sender: '',
      to: [],
      cc: [],
      bcc: [],
      snippet: '',
      headers: {},
      labels: [],
    })
  })

  it('has no date when Gmail has none that is one', () => {
    for (const [internalDate, msgDate] of [
      ['', null],
      ['soon', null],
      ['-5', null],
      [null, null],
      ['1e400', null],
      ['99999999999999999999', 253_402_300_799],
      ['0', 0],
      [1_700_000_000_000, 1_700_000_000],
    ] as const) {
      assert.equal(meta([], { internalDate }).msgDate, msgDate, String(internalDate))
    }
  })

  it('cannot reach a prototype by the name of a header or label', () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty']
    const message = meta([...names.map((name): Line => [name, 'x']), ['Subject', '__proto__']], { labelIds: names })
    assert.deepEqual(Object.keys(message.headers), ['Subject'])
    assert.deepEqual(message.labels, names)
    assert.equal(({} as Record<string, unknown>).x, undefined)
  })

  it('is unreadable when its shape is wrong, not empty', () => {
    for (const broken of [
      null,
      'text',
      [],
      {},
      { id: 7, payload: {} },
      { id: '', payload: {} },
      { id: 'a' },
      { id: 'a\ud800', payload: {} },
    ]) {
      assert.equal(v.is(Message, broken), false, JSON.stringify(broken))
    }
    assert.equal(v.is(Message, { id: 'a', payload: { headers: [{ name: 1 }, null, 'x'] } }), true)
  })

  it('never makes normalising throw, and every text in it can be encoded', () => {
    const name = fc.oneof(fc.constantFrom(...HEADERS, '__proto__', 'X'), fc.string())
    const text = fc.string({ unit: 'binary', maxLength: 60 })
    const shape = fc.record({
      id: fc.constant('m1'),
      threadId: fc.option(text),
      labelIds: fc.array(text),
      snippet: text,
      internalDate: fc.oneof(text, fc.double(), fc.bigInt().map(String)),
      payload: fc.record({ headers: fc.array(fc.record({ name, value: text })) }),
    })
    fc.assert(
      fc.property(fc.oneof(shape, fc.anything({ withObjectString: true })), (raw) => {
        const parsed = v.safeParse(Message, raw)
        if (!parsed.success) return true
        const message = gmailMeta(parsed.output)
        return JSON.stringify(message).isWellFormed() && !/\\ud[89a-f]/i.test(JSON.stringify(message))
      }),
      { numRuns: 2_000 },
    )
  })
})
