/** What both pipelines are told, and the event that they and the service make of a mail. */
import type { JetStreamClient } from '@nats-io/jetstream'
import { type EmailReceived, eventId, PROVIDER_UPPER } from '#shared/event.ts'
import type { NatsConnection } from '#shared/nats.ts'
import type { ProviderName } from '#shared/subjects.ts'
import type { MessageMeta } from '../../../services/mail/base/model.ts'

export const INBOX = 'primary'

/** One mailbox that is to be fetched whole. */
export type Job = { user: string; provider: ProviderName; token: string }

export type Ground = {
  nc: NatsConnection
  js: JetStreamClient
  /** The stream takes atomic batches. */
  atomic: boolean
  /** Address of the provider. */
  url: string
  /** Folder of the databases. */
  dir: string
}

export function eventOf(
  { user, provider }: Pick<Job, 'user' | 'provider'>,
  mail: MessageMeta,
  ts: number,
): EmailReceived {
  const upper = PROVIDER_UPPER[provider]
  return {
    event_id: eventId(user, upper, INBOX, mail.id),
    ts,
    msg_date: mail.msgDate,
    provider: upper,
    inbox_id: INBOX,
    user_id: user,
    provider_message_id: mail.id,
    provider_thread_id: mail.threadId,
    subject: mail.subject,
    sender: mail.sender,
    to_addrs: mail.to,
    cc_addrs: mail.cc,
    bcc_addrs: mail.bcc,
    snippet: mail.snippet,
    headers: mail.headers,
    labels: mail.labels,
  }
}
