/**
 * Threat T12: content of mail as a hostile sender writes it, through the normalisers of both providers to the event. Whatever it
 * is, nothing throws, every text can be stored, and neither message nor event grows beyond its bound.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type fc from 'fast-check'
import * as v from 'valibot'
import { EmailReceived } from '#shared/event.ts'
import type { MessageMeta } from '../../services/mail/base/model.ts'
import { gmailMeta } from '../../services/mail/provider/gmail/normalize.ts'
import { Message as GmailMessage } from '../../services/mail/provider/gmail/schemas.ts'
import { graphMeta } from '../../services/mail/provider/outlook/normalize.ts'
import { Message as GraphMessage } from '../../services/mail/provider/outlook/schemas.ts'
import { cutEvent, EVENT_MAX_BYTES } from '../../services/mail/store/event-size.ts'
import { toEvent } from '../../services/mail/store/messages.ts'
import { amount, chunks } from './amount.ts'
import { gmailMessages, graphMessages } from './mail-content.ts'
import { assertStorable, textsOf } from './storable.ts'

const MAILS = amount(1_000, 50_000, 200_000)
const ACCOUNT = { userId: 'ada', inboxId: 'primary' }
/** A header is kept as it is, and once more as what it says. */
const GROWTH_MAX = 3

const sizeOf = (texts: readonly string[]): number => texts.reduce((sum, text) => sum + text.length, 0)
/** Characters of all texts in an answer. */
function charsOf(value: unknown): number {
  if (typeof value === 'string') return value.length
  if (typeof value !== 'object' || value === null) return 0
  return Object.values(value).reduce((sum: number, each) => sum + charsOf(each), 0)
}

/** True when the event had to be cut. */
function assertBounded(answer: object, meta: MessageMeta, provider: 'google' | 'microsoft'): boolean {
  assertStorable(meta)
  assert.ok(!('polluted' in {}))
  const [given, made] = [charsOf(answer), sizeOf(textsOf(meta))]
  assert.ok(made <= GROWTH_MAX * given + 1_000, `${made} characters out of ${given}`)
  const whole = toEvent({ ...ACCOUNT, provider }, meta, 1_700_000_000)
  const event = cutEvent(whole)
  assert.ok(Buffer.byteLength(JSON.stringify(event)) <= EVENT_MAX_BYTES)
  assert.deepEqual(v.parse(EmailReceived, JSON.parse(JSON.stringify(event))), event)
  for (const text of [event.subject, event.snippet, ...event.to_addrs, ...Object.values(event.headers)])
    assert.ok(text.isWellFormed(), 'no character is halved')
  return event !== whole
}

const NORMALISERS = {
  google: { answers: gmailMessages, schema: GmailMessage, metaOf: gmailMeta },
  microsoft: {
    answers: graphMessages,
    schema: GraphMessage,
    metaOf: (message: v.InferOutput<typeof GraphMessage>) => graphMeta(message, '\ud800 folder'),
  },
} as const

for (const provider of ['google', 'microsoft'] as const)
  test(`hostile content of mail becomes an event that can be stored and has its bound: ${provider}`, (t) => {
    const { answers, schema, metaOf } = NORMALISERS[provider]
    let cut = 0
    let done = 0
    for (const chunk of chunks<object>(answers as fc.Arbitrary<object>, MAILS))
      for (const answer of chunk) {
        const message = v.parse(schema, answer)
        const meta = (metaOf as (message: unknown) => MessageMeta)(message)
        try {
          if (assertBounded(answer, meta, provider)) cut++
        } catch (error) {
          throw new Error(JSON.stringify(answer).slice(0, 3_000), { cause: error })
        }
        done++
      }
    assert.ok(cut > 0, 'some were too large for an event')
    t.diagnostic(`${done} mails, ${cut} events cut`)
  })

test('control: a text that grows or cannot be stored is noticed', () => {
  const answer = { id: 'm1', payload: { headers: [{ name: 'To', value: 'a@x.example' }] } }
  const right = gmailMeta(v.parse(GmailMessage, answer))
  const wrong = (more: Partial<MessageMeta>) => () => assertBounded(answer, { ...right, ...more }, 'google')
  assert.equal(wrong({})(), false)
  assert.throws(wrong({ to: Array<string>(200).fill('a@x.example') }), /characters out of/)
  assert.throws(wrong({ snippet: '\ud800' }))
  assert.throws(wrong({ subject: 'a\r\nBcc: b' }))
  assert.throws(wrong({ msgDate: Number.POSITIVE_INFINITY }))
})
