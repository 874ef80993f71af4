/** Messages as hostile senders write them: headers, encoded words, charsets, addresses, as fast-check draws them. */
import fc from 'fast-check'
import { HEADERS } from '../../services/mail/provider/gmail/normalize.ts'

const charsets = fc.constantFrom(
  'utf-8',
  'UTF-8*en',
  'utf-7',
  'utf-16',
  'utf-16le',
  'us-ascii',
  'iso-8859-1',
  'ISO-2022-JP',
  'iso-2022-kr',
  'shift_jis',
  'gb18030',
  'big5',
  'koi8-r',
  'windows-1252',
  'x-user-defined',
  'unknown-8bit',
  'replacement',
  '__proto__',
  '*',
  '',
)
const bytes = fc.uint8Array({ maxLength: 40 }).map((list) => Buffer.from(list))
const words = fc
  .tuple(charsets, fc.constantFrom('Q', 'q', 'B', 'b', 'x'), bytes, fc.nat(3))
  .map(([set, how, raw, cut]) => {
    const text = /b/i.test(how)
      ? raw.toString('base64')
      : [...raw].map((byte) => `=${byte.toString(16).toUpperCase()}`).join('')
    return `=?${set}?${how}?${text.slice(0, text.length - cut)}?=`
  })
const addresses = fc.constantFrom(
  'a@x.example',
  'Ada <a@x.example>',
  '"B, ob" <b@y.example>',
  '"odd \\" 5"@x.example',
  '<@relay.example:c@z.example>',
  'Team: d@x.example, e@x.example;',
  'undisclosed-recipients:;',
  '<f@x.example',
  'g@',
  '@h',
  'jürgen@exämple.org',
  '(comment (in a comment))',
)
const marks = fc.constantFrom(
  ...['"', '<', '>', ',', ';', ':', '(', ')', '\\', '@', '=?', '?=', '=', '_', '+', '\r\n ', '\r\n', '\n', '\r', '\0'],
  ...['\ud800', '\udc00', '\u202e', '\ufeff', '\u2028', '&#x41', '&amp;', '__proto__', 'é', '😀', ' '],
)
const pieces = fc.oneof(words, words, addresses, marks, fc.string({ unit: 'binary', maxLength: 20 }))
const short = fc.array(pieces, { maxLength: 12 }).map((list) => list.join(''))
/** What is beyond every bound when it is repeated in many fields. */
const long = fc
  .tuple(pieces, fc.integer({ min: 1_000, max: 20_000 }))
  .map(([piece, chars]) => piece.repeat(Math.ceil(chars / Math.max(1, piece.length))))
const texts = fc.oneof({ weight: 40, arbitrary: short }, { weight: 1, arbitrary: long })

const names = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(...HEADERS, ...HEADERS.map((name) => name.toLowerCase())) },
  { weight: 1, arbitrary: fc.constantFrom('__proto__', 'constructor', 'X-Other', '', 'Received') },
)
const headerLists = (maxLength: number) => fc.array(fc.record({ name: names, value: texts }), { maxLength })
/** As `messages.get` of Gmail answers. */
export const gmailMessages = fc.record({
  id: fc.constant('m1'),
  threadId: fc.option(texts),
  labelIds: fc.array(texts, { maxLength: 4 }),
  snippet: texts,
  internalDate: fc.oneof(fc.constantFrom('1700000000000', '', '-1', 'NaN', '1e400', null), fc.double(), texts),
  payload: fc.record({
    headers: fc.oneof(
      { weight: 38, arbitrary: headerLists(12) },
      { weight: 1, arbitrary: headerLists(60) },
      { weight: 1, arbitrary: fc.array(fc.record({ name: names, value: long }), { minLength: 30, maxLength: 60 }) },
    ),
  }),
})

const recipients = fc.record({
  emailAddress: fc.option(fc.record({ name: fc.option(texts), address: fc.option(texts) })),
})
/** As a header list of Gmail above: together beyond the bound of an event. */
const longRecipients = fc.record({ emailAddress: fc.record({ name: fc.option(texts), address: long }) })
const dates = fc.oneof(
  fc.constantFrom('2026-01-02T03:04:05Z', '+275760-09-13T00:00:00Z', '0001-01-01T00:00:00Z'),
  texts,
)
const people = fc.array(recipients, { maxLength: 6 })
/** As a list of messages of Graph has them. */
export const graphMessages = fc.record({
  id: fc.constant('m1'),
  isDraft: fc.constant(false),
  parentFolderId: fc.constant('abc'),
  receivedDateTime: fc.option(dates),
  sentDateTime: fc.option(dates),
  subject: fc.option(texts),
  from: fc.option(recipients),
  sender: fc.option(recipients),
  toRecipients: fc.oneof(
    { weight: 38, arbitrary: people },
    { weight: 1, arbitrary: fc.array(recipients, { maxLength: 200 }) },
    { weight: 1, arbitrary: fc.array(longRecipients, { minLength: 30, maxLength: 60 }) },
  ),
  ccRecipients: fc.option(people),
  bccRecipients: fc.option(people),
  replyTo: fc.option(people),
  conversationId: fc.option(texts),
  internetMessageId: fc.option(texts),
  bodyPreview: fc.option(texts),
  isRead: fc.option(fc.boolean()),
  categories: fc.option(fc.array(texts, { maxLength: 4 })),
})
