/**
 * What operators and trusted services may ask about one user over `mail.as.*`, beside the contract of the control plane:
 * where a mail came from or what kept it out, and which messages are set aside. Answered by the owner, through any instance.
 */
import * as v from 'valibot'
import { AUDIT_EXAMPLE, AuditReply, AuditRequest } from './audit.ts'
import { count, inboxId, provider } from './contract.ts'
import type { ErrorCode } from './errors.ts'
import type { InspectionName } from './subjects.ts'

const MESSAGE_ID_MAX_CHARS = 1024
/** Messages of a user that one reply lists. */
export const QUARANTINE_MAX = 500

const epochSeconds = v.pipe(v.number(), v.integer(), v.description('epoch seconds'))
const text = v.nullable(v.string())
/** It goes into a path of the provider. */
const messageId = v.pipe(
  v.string(),
  v.regex(/^[\w=+/-]+$/),
  v.maxLength(MESSAGE_ID_MAX_CHARS),
  v.description('id of the message at the provider'),
)

export const WhyRequest = v.strictObject({
  message_id: messageId,
  provider: v.optional(provider),
  inbox_id: v.optional(inboxId),
})
export type WhyRequest = v.InferOutput<typeof WhyRequest>

const Page = v.object({
  page: v.pipe(count, v.description('number of the page, which is one transaction')),
  lane: v.string(),
  cursor: v.pipe(text, v.description('what the provider was asked with; null: from the start')),
  next_cursor: v.pipe(text, v.description('where the lane stood after it')),
  epoch: v.object({ era: count, rev: count }),
  committed_at: epochSeconds,
})
export type Page = v.InferOutput<typeof Page>

const of = { provider, inbox_id: v.string() }
const listedBy = v.pipe(v.nullable(Page), v.description('the page that listed the id before it was fetched'))

const Stored = v.object({
  is: v.literal('stored'),
  ...of,
  event_id: v.string(),
  stored_at: v.pipe(v.nullable(epochSeconds), v.description('null: published from another disk, no row here yet')),
  page: v.pipe(v.nullable(Page), v.description('null: not known, it is older or was learned from the stream')),
  listed_by: listedBy,
  outbox: v.pipe(
    v.nullable(
      v.object({
        id: v.pipe(v.number(), v.integer()),
        published_at: v.nullable(epochSeconds),
        retries: count,
        next_attempt_at: v.nullable(epochSeconds),
      }),
    ),
    v.description('null: there is no row any more, or there never was one'),
  ),
  stream: v.object({
    is: v.pipe(
      v.picklist(['on_stream', 'waiting', 'gone', 'not_published', 'unknown']),
      v.description(
        'gone: it stood at the sequence, and the stream holds it no longer; not_published: see gap_before and stream_reset of the status; unknown: the stream could not be read',
      ),
    ),
    sequence: v.nullable(count),
  }),
})

const attempt = {
  attempts: count,
  reason: v.pipe(text, v.description('of the last attempt: missing, refused, unreadable or unavailable')),
  error: v.pipe(text, v.description("HTTP status and code of the provider's last answer")),
  next_attempt_at: v.pipe(v.nullable(epochSeconds), v.description('null: when its turn comes')),
}

const Queued = v.object({
  is: v.literal('queued'),
  ...of,
  set_aside: v.pipe(v.boolean(), v.description('true: in quarantine')),
  ...attempt,
  listed_by: listedBy,
})

const Filtered = v.object({
  is: v.literal('filtered'),
  ...of,
  filter: v.pipe(v.string(), v.description('the label or the folder whose mail is no event')),
})

const answered = { status: v.nullable(count), provider_code: text }

const NotAtProvider = v.object({
  is: v.literal('not_at_provider'),
  ...of,
  reason: v.picklist(['missing', 'refused']),
  ...answered,
})

const Unknown = v.object({
  is: v.literal('unknown'),
  ...of,
  readable: v.pipe(v.boolean(), v.description('the answer of the provider has the shape of a message')),
  open_lanes: v.pipe(
    v.array(v.string()),
    v.description('walks that have not reached their end, and may still find it'),
  ),
})

const Unanswered = v.object({
  is: v.literal('unanswered'),
  ...of,
  code: v.pipe(text, v.description('why the provider could not be asked: a code of last_error; null: not connected')),
  ...answered,
})

export const WhyAnswer = v.variant('is', [Stored, Queued, Filtered, NotAtProvider, Unknown, Unanswered])
export type WhyAnswer = v.InferOutput<typeof WhyAnswer>

export const WhyReply = v.object({
  user_id: v.string(),
  message_id: v.string(),
  instance: v.pipe(v.string(), v.description('the owner, which answered')),
  answers: v.pipe(
    v.array(WhyAnswer),
    v.description('of each account that knows the message; when none does, of every one; empty: no such account'),
  ),
})
export type WhyReply = v.InferOutput<typeof WhyReply>

export const QuarantineRequest = v.strictObject({})
export const QuarantineReply = v.object({
  user_id: v.string(),
  instance: v.string(),
  accounts: v.array(
    v.object({
      ...of,
      set_aside: count,
      messages: v.pipe(
        v.array(v.object({ message_id: v.string(), ...attempt, lane: text, listed_at: v.nullable(epochSeconds) })),
        v.description(`those that are tried next first; of one user at most ${QUARANTINE_MAX}`),
      ),
    }),
  ),
})
export type QuarantineReply = v.InferOutput<typeof QuarantineReply>

export type Inspections = {
  why: { request: WhyRequest; reply: WhyReply }
  quarantine: { request: v.InferOutput<typeof QuarantineRequest>; reply: QuarantineReply }
  audit: { request: v.InferOutput<typeof AuditRequest>; reply: AuditReply }
}

export type Inspection = {
  name: InspectionName
  description: string
  request: v.GenericSchema
  reply: v.GenericSchema
  errors: readonly ErrorCode[]
  /** Deadline of a client, in milliseconds. */
  timeoutMs: number
  example: { request: unknown; reply: unknown }
}

const ERRORS = [
  ...[
    'BAD_USER_ID',
    'BAD_JSON',
    'BAD_REQUEST',
    'TOO_LARGE',
    'RATE_LIMITED',
    'INTERNAL',
    'NO_INSTANCE',
    'NO_OWNER',
    'TIMEOUT',
  ],
] as ErrorCode[]

const examplePage: Page = {
  page: 7,
  lane: 'drain',
  cursor: null,
  next_cursor: null,
  epoch: { era: 1699990000000, rev: 42 },
  committed_at: 1699999999,
}

const exampleWhy: WhyReply = {
  user_id: 'user_abc123',
  message_id: '18c1234567890abc',
  instance: 'mail-1',
  answers: [
    {
      is: 'stored',
      provider: 'google',
      inbox_id: 'primary',
      event_id: '057f1fc2-f325-5ecb-99d8-a3b7c8b7c6a8',
      stored_at: 1699999999,
      page: examplePage,
      listed_by: {
        ...examplePage,
        page: 5,
        lane: 'history',
        cursor: '{"start":"1200"}',
        next_cursor: '{"start":"1210"}',
      },
      outbox: { id: 12, published_at: 1699999999, retries: 0, next_attempt_at: null },
      stream: { is: 'on_stream', sequence: 4711 },
    },
  ],
}

const exampleQuarantine: QuarantineReply = {
  user_id: 'user_abc123',
  instance: 'mail-1',
  accounts: [
    {
      provider: 'google',
      inbox_id: 'primary',
      set_aside: 1,
      messages: [
        {
          message_id: '18c1234567890abd',
          attempts: 3,
          reason: 'unavailable',
          error: '500 backendError',
          next_attempt_at: 1700000599,
          lane: 'history',
          listed_at: 1699999900,
        },
      ],
    },
  ],
}

export const INSPECT: Record<InspectionName, Inspection> = {
  why: {
    name: 'why',
    description:
      'Where a message came from: page, cursor, transaction, outbox row, sequence; or what kept it out: queue, quarantine, filter, the answer of the provider.',
    request: WhyRequest,
    reply: WhyReply,
    errors: ERRORS,
    timeoutMs: 15_000,
    example: { request: { message_id: '18c1234567890abc', provider: 'google' }, reply: exampleWhy },
  },
  quarantine: {
    name: 'quarantine',
    description: 'The messages of the user that are set aside: attempts, last error, when they are tried again.',
    request: QuarantineRequest,
    reply: QuarantineReply,
    errors: ERRORS,
    timeoutMs: 10_000,
    example: { request: {}, reply: exampleQuarantine },
  },
  audit: {
    name: 'audit',
    description:
      'Compares what the provider lists, what is stored and what stands on the stream, for every connected mailbox of the user. Answers at once with what is known so far; what is missing is fetched and published.',
    request: AuditRequest,
    reply: AuditReply,
    errors: ERRORS,
    timeoutMs: 10_000,
    example: { request: { start: true }, reply: AUDIT_EXAMPLE },
  },
}
