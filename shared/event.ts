/**
 * The event: its schema and its identity. The identity is a pure function of (user, provider, inbox, provider id);
 * changing it would publish every mail a second time, so three vectors are pinned by a test.
 */
import * as v from 'valibot'
import { uuidV5 } from './uuid.ts'

/** Upper case stands in columns and events, lower case in the API, KV keys and configuration. */
export const PROVIDER_UPPER = { google: 'GOOGLE', microsoft: 'MICROSOFT' } as const
export const PROVIDER_LOWER = { GOOGLE: 'google', MICROSOFT: 'microsoft' } as const
export type ProviderUpper = keyof typeof PROVIDER_LOWER

const EVENT_NAMESPACE = Buffer.from('6f1c2f5e3c0b5d0a9a572d6d61696c73', 'hex')

/** UUIDv5 of one mail in one inbox of one user; also its `Nats-Msg-Id`. */
export const eventId = (userId: string, provider: ProviderUpper, inboxId: string, providerMessageId: string): string =>
  uuidV5(EVENT_NAMESPACE, JSON.stringify([userId, provider, inboxId, providerMessageId]))

const addresses = v.array(v.string())
const seconds = v.pipe(v.number(), v.integer())

/** `user.<token>.email.received`: metadata of one mail. Times are epoch seconds. */
export const EmailReceived = v.object({
  event_id: v.pipe(v.string(), v.uuid()),
  ts: seconds,
  msg_date: v.nullable(seconds),
  provider: v.picklist(['GOOGLE', 'MICROSOFT']),
  inbox_id: v.string(),
  user_id: v.string(),
  provider_message_id: v.string(),
  provider_thread_id: v.nullable(v.string()),
  subject: v.string(),
  sender: v.string(),
  to_addrs: addresses,
  cc_addrs: addresses,
  bcc_addrs: addresses,
  snippet: v.string(),
  headers: v.record(v.string(), v.string()),
  labels: v.array(v.string()),
  /** Names of fields that were cut to keep the event under its size limit; absent when nothing was cut. */
  truncated: v.optional(v.array(v.string())),
})
export type EmailReceived = v.InferOutput<typeof EmailReceived>
