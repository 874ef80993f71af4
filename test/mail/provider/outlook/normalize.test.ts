import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as v from 'valibot'
import { graphMeta } from '../../../../services/mail/provider/outlook/normalize.ts'
import { Message } from '../../../../services/mail/provider/outlook/schemas.ts'
import { fc } from '../../../support/fast-check.ts'

const who = (name: string | null, address: string | null) => ({ emailAddress: { name, address } })
const WHOLE = {
  '@odata.type': '#microsoft.graph.eventMessage',
  id: 'AAk=',
  conversationId: 'c1',
  internetMessageId: '<1@x>',
  subject: 'Grüße',
  from: who('Müller, Jürgen', 'J@X.org'),
  sender: who('Office', 'office@x.org'),
  toRecipients: [who('Ada', 'a@x.org'), who('only a name', null), who(null, null)],
  ccRecipients: [who('b@x.org', 'b@x.org')],
  bccRecipients: [],
  replyTo: [who('', 'r@x.org')],
  receivedDateTime: '2024-01-01T10:00:00Z',
  sentDateTime: '2024-01-01T09:59:58Z',
  bodyPreview: 'a < b & c',
  isRead: false,
  isDraft: false,
  parentFolderId: 'f1',
  categories: ['Blue category'],
  meetingMessageType: 'meetingRequest',
}

describe('a Graph message', () => {
  it('becomes what an event needs, invitations too', () => {
    assert.deepEqual(graphMeta(v.parse(Message, WHOLE), 'INBOX'), {
      id: 'AAk=',
      threadId: 'c1',
      msgDate: 1_704_103_200,
      subject: 'Grüße',
      sender: 'J@X.org',
      to: ['a@x.org', 'only a name'],
      cc: ['b@x.org'],
      bcc: [],
      snippet: 'a < b & c',
      headers: {
        From: '"Müller, Jürgen" <J@X.org>',
        To: 'Ada <a@x.org>, only a name',
        Cc: 'b@x.org',
        'Reply-To': 'r@x.org',
        Subject: 'Grüße',
        Date: 'Mon, 01 Jan 2024 09:59:58 +0000',
        'Message-ID': '<1@x>',
      },
      labels: ['INBOX', 'UNREAD', 'Blue category'],
    })
  })

  it('leaves out what Graph does not tell', () => {
    const bare = {
      ...WHOLE,
      subject: null,
      from: null,
      sender: null,
      toRecipients: [],
      ccRecipients: [],
      replyTo: null,
    }
    const rest = {
      receivedDateTime: '0001-01-01T00:00:00Z',
      sentDateTime: null,
      internetMessageId: null,
      bodyPreview: null,
    }
    const message = graphMeta(v.parse(Message, { ...bare, ...rest, isRead: true, categories: null }), null)
    assert.deepEqual(message.headers, {})
    assert.deepEqual(message.labels, [])
    assert.deepEqual([message.subject, message.sender, message.snippet, message.msgDate], ['', '', '', null])
  })

  it('cannot break out of a header by a name', () => {
    const from = who('Ada\r\nBcc: victim@x.org', 'a@x.org')
    const { headers } = graphMeta(v.parse(Message, { ...WHOLE, from }), null)
    assert.equal(headers.From, '"Ada Bcc: victim@x.org" <a@x.org>')
  })

  it('is not whole when a property that matters is absent', () => {
    for (const name of ['id', 'isDraft', 'parentFolderId', 'receivedDateTime', 'subject', 'toRecipients']) {
      const part = Object.fromEntries(Object.entries(WHOLE).filter(([key]) => key !== name))
      assert.equal(v.is(Message, part), false, name)
    }
  })

  it('never makes normalising throw, and every text in it can be encoded', () => {
    const text = fc.string({ unit: 'binary', maxLength: 40 })
    const maybe = fc.option(text)
    const recipient = fc.record({ emailAddress: fc.option(fc.record({ name: maybe, address: maybe })) })
    const odd = fc.record({
      subject: maybe,
      from: fc.option(recipient),
      toRecipients: fc.array(recipient),
      receivedDateTime: fc.option(
        fc.oneof(
          text,
          fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
        ),
      ),
      sentDateTime: maybe,
      internetMessageId: maybe,
      bodyPreview: maybe,
      categories: fc.array(text),
    })
    fc.assert(
      fc.property(odd, maybe, (part, label) => {
        const shown = JSON.stringify(graphMeta(v.parse(Message, { ...WHOLE, ...part }), label))
        return !/\\ud[89a-f]/i.test(shown)
      }),
      { numRuns: 1_000 },
    )
  })
})
