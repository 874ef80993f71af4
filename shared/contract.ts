/**
 * The contract of the control plane in ONE table: operation, subject, HTTP route, schemas, errors, examples.
 * Endpoint metadata, HTTP routes, OpenAPI, AsyncAPI and the tables of the documents derive from it.
 */
import * as v from 'valibot'
import { Erasure } from './erase.ts'
import type { ErrorCode } from './errors.ts'
import { type OperationName, requestSubject } from './subjects.ts'

export const REQUEST_MAX_BYTES = 64 * 1024
const TOKEN_MAX_CHARS = 8 * 1024

export const PROVIDERS = ['google', 'microsoft'] as const
export const ACCOUNT_STATES = [
  'connecting',
  'backfilling',
  'live',
  'throttled',
  'retrying',
  'needs_reauth',
  'paused',
] as const
export type AccountState = (typeof ACCOUNT_STATES)[number]

export const provider = v.pipe(v.picklist(PROVIDERS), v.description('google or microsoft'))
export const inboxId = v.pipe(
  v.string(),
  v.regex(/^[a-z0-9_-]{1,32}$/),
  v.description("which of the user's inboxes; default primary"),
)
/** Stands in a header or a form as it is; anything else would break every later request to the provider. */
const token = v.pipe(v.string(), v.regex(/^[\x21-\x7e]+$/), v.maxLength(TOKEN_MAX_CHARS))
export const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const epochSeconds = v.nullable(v.pipe(v.number(), v.integer(), v.description('epoch seconds')))

export const ConnectRequest = v.strictObject({
  provider,
  access_token: v.pipe(token, v.description('access token of the provider')),
  refresh_token: v.pipe(token, v.description('refresh token of the provider')),
  expires_in: v.pipe(
    v.number(),
    v.integer(),
    v.minValue(0),
    v.maxValue(31_536_000),
    v.description('seconds the access token still lives'),
  ),
  inbox_id: v.optional(inboxId, 'primary'),
})
export type ConnectRequest = v.InferOutput<typeof ConnectRequest>
export const ConnectReply = v.object({ message: v.string(), provider, user_id: v.string() })
export type ConnectReply = v.InferOutput<typeof ConnectReply>

export const StatusRequest = v.strictObject({})
export const AccountStatus = v.object({
  provider,
  inbox_id: v.string(),
  address: v.nullable(v.string()),
  state: v.picklist(ACCOUNT_STATES),
  progress: v.object({
    done: count,
    total_estimate: v.nullable(count),
    percent: v.nullable(v.number()),
    rate_per_s: v.nullable(v.number()),
    eta_s: v.nullable(count),
  }),
  last_synced_at: epochSeconds,
  next_sync_at: epochSeconds,
  outbox: v.object({ pending: count, oldest_age_s: v.nullable(count) }),
  set_aside: v.pipe(count, v.description('messages that could not be read yet and are retried')),
  last_error: v.nullable(
    v.object({ code: v.string(), message: v.string(), at: epochSeconds, retry_at: epochSeconds, count }),
  ),
  stream_reset: v.pipe(v.boolean(), v.description('JetStream was lost or went back while this account was connected')),
  refill: v.optional(
    v.pipe(v.boolean(), v.description('rows that a lost disk took are fetched again; nothing is published twice')),
    false,
  ),
  gap_before: v.optional(
    v.nullable(
      v.pipe(
        v.number(),
        v.integer(),
        v.description('epoch seconds; older mail that was not published yet is not published any more: see GAP'),
      ),
    ),
    null,
  ),
  completeness: v.optional(
    v.object({
      provider_total: v.pipe(
        v.nullable(count),
        v.description('stored mails that the mailbox listed at the last audit'),
      ),
      stored: count,
      published: v.pipe(count, v.description('at least; what waits in the outbox counts for each mailbox of the user')),
      proven_at: v.pipe(
        v.nullable(v.pipe(v.number(), v.integer())),
        v.description(
          'epoch seconds when all that the mailbox lists was last known to be stored; null: it is not known',
        ),
      ),
    }),
    { provider_total: null, stored: 0, published: 0, proven_at: null },
  ),
  instance: v.nullable(v.string()),
  live: v.pipe(
    v.boolean(),
    v.description('true when the owner itself answered, false when this is the last checkpoint'),
  ),
})
export type AccountStatus = v.InferOutput<typeof AccountStatus>
export const StatusReply = v.object({
  user_id: v.string(),
  running_syncs: v.array(v.string()),
  accounts: v.array(AccountStatus),
})
export type StatusReply = v.InferOutput<typeof StatusReply>

export const DisconnectRequest = v.strictObject({
  provider,
  inbox_id: v.optional(inboxId, 'primary'),
  erase: v.optional(
    v.pipe(
      v.boolean(),
      v.description('erase all that is kept of the user; refused while another mailbox of the user is connected'),
    ),
    false,
  ),
})
export type DisconnectRequest = v.InferOutput<typeof DisconnectRequest>
export const DisconnectReply = v.object({
  message: v.string(),
  erasure: v.optional(
    v.pipe(Erasure, v.description('only where the request says erase; ask again to learn when it is done')),
  ),
})
export type DisconnectReply = v.InferOutput<typeof DisconnectReply>

const EDGE_ERRORS = [
  'TOKEN_MISSING',
  'TOKEN_NOT_A_JWT',
  'TOKEN_EXPIRED',
  'TOKEN_INVALID',
  'BAD_USER_ID',
  'BAD_JSON',
  'BAD_REQUEST',
  'TOO_LARGE',
  'RATE_LIMITED',
  'INTERNAL',
  'ISSUER_UNREACHABLE',
  'NO_INSTANCE',
  'TIMEOUT',
] as const satisfies ErrorCode[]

export type Operation = {
  name: OperationName
  subject: string
  http: { method: 'GET' | 'POST'; path: string }
  description: string
  request: v.GenericSchema
  reply: v.GenericSchema
  errors: readonly ErrorCode[]
  /** Deadline of a client, in milliseconds. */
  timeoutMs: number
  example: { request: unknown; reply: unknown }
}

const exampleAccount: AccountStatus = {
  provider: 'google',
  inbox_id: 'primary',
  address: 'ada@example.com',
  state: 'backfilling',
  progress: { done: 1200, total_estimate: 5200, percent: 23, rate_per_s: 5, eta_s: 800 },
  last_synced_at: 1699999999,
  next_sync_at: 1700000029,
  outbox: { pending: 0, oldest_age_s: null },
  set_aside: 0,
  last_error: null,
  stream_reset: false,
  refill: false,
  gap_before: null,
  completeness: { provider_total: null, stored: 1200, published: 1200, proven_at: null },
  instance: 'mail-1',
  live: true,
}

export const CONTRACT: Record<OperationName, Operation> = {
  connect: {
    name: 'connect',
    subject: requestSubject('connect'),
    http: { method: 'POST', path: '/mail/connect' },
    description:
      'Connect a mailbox and keep it in sync. Repeating it replaces the credential and keeps every position.',
    request: ConnectRequest,
    reply: ConnectReply,
    errors: [
      ...EDGE_ERRORS,
      'CREDENTIAL_REFUSED',
      'MAILBOX_MISMATCH',
      'MAILBOX_ALREADY_CONNECTED',
      'CONFLICT',
      'PROVIDER_NOT_CONFIGURED',
    ],
    timeoutMs: 15_000,
    example: {
      request: { provider: 'google', access_token: 'ya29.xxx', refresh_token: '1//xxx', expires_in: 3600 },
      reply: { message: 'mail sync started', provider: 'google', user_id: 'user_abc123' },
    },
  },
  status: {
    name: 'status',
    subject: requestSubject('status'),
    http: { method: 'GET', path: '/mail/status' },
    description: 'The accounts of the user: state, progress, outbox, last error.',
    request: StatusRequest,
    reply: StatusReply,
    errors: [...EDGE_ERRORS],
    timeoutMs: 3_000,
    example: {
      request: {},
      reply: { user_id: 'user_abc123', running_syncs: ['user_abc123:primary:GOOGLE'], accounts: [exampleAccount] },
    },
  },
  disconnect: {
    name: 'disconnect',
    subject: requestSubject('disconnect'),
    http: { method: 'POST', path: '/mail/disconnect' },
    description:
      'Stop the sync of a mailbox, revoke the grant, delete the tokens. The mail data stays, unless erase is true. Idempotent.',
    request: DisconnectRequest,
    reply: DisconnectReply,
    errors: [...EDGE_ERRORS, 'CONFLICT', 'OTHER_MAILBOXES_CONNECTED'],
    timeoutMs: 3_000,
    example: { request: { provider: 'google' }, reply: { message: 'mail sync stopped' } },
  },
}

/** Errors that only the HTTP bridge can answer. */
export const HTTP_ERRORS = ['NOT_FOUND', 'METHOD_NOT_ALLOWED', 'UNSUPPORTED_MEDIA_TYPE'] as const satisfies ErrorCode[]
