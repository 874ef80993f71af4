/**
 * The final account: every event of a user on the stream, read by sequence, against what the provider says must have
 * been received. It asks the stream itself, not a consumer that could miss something, and believes no counter of ours.
 */
import { jetstreamManager } from '@nats-io/jetstream'
import * as v from 'valibot'
import { EmailReceived } from '#shared/event.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import { answered } from './until.ts'

export type StoredEvent = { seq: number; msgId: string; event: EmailReceived }
export type Account = {
  userId: string
  provider: 'GOOGLE' | 'MICROSOFT'
  inboxId?: string
  must: readonly string[]
  mustNot: readonly string[]
}
export type Ledger = {
  sent: number
  once: number
  lost: string[]
  twice: string[]
  wrong: string[]
  line: string
  clean: boolean
}

/** All events on the user's subject, in order of sequence. @throws when one does not fit the schema. */
export async function eventsOf(nc: NatsConnection, userId: string): Promise<StoredEvent[]> {
  const jsm = await answered(() => jetstreamManager(nc))
  const subject = eventSubject(userId)
  const events: StoredEvent[] = []
  for (let seq = 1; ; ) {
    const query = { seq, next_by_subj: subject }
    // Of the leader: another server of a cluster may lag behind.
    const message = await answered(() => jsm.streams.getMessage(EVENT_STREAM, query))
    if (message === null) return events
    events.push({
      seq: message.seq,
      msgId: message.header.get('Nats-Msg-Id'),
      event: v.parse(EmailReceived, message.json()),
    })
    seq = message.seq + 1
  }
}

export async function ledgerOf(nc: NatsConnection, accounts: readonly Account[]): Promise<Ledger> {
  const events = new Map<string, StoredEvent[]>()
  for (const { userId } of accounts) if (!events.has(userId)) events.set(userId, await eventsOf(nc, userId))
  const [lost, twice, wrong]: [string[], string[], string[]] = [[], [], []]
  let sent = 0
  let once = 0
  for (const { userId, provider, inboxId = 'primary', must, mustNot } of accounts) {
    const seen = new Map<string, number>()
    for (const { event } of events.get(userId) ?? [])
      if (event.provider === provider && event.inbox_id === inboxId)
        seen.set(event.provider_message_id, (seen.get(event.provider_message_id) ?? 0) + 1)
    sent += must.length
    for (const id of must) if (seen.get(id) === 1) once += 1
    lost.push(...must.filter((id) => !seen.has(id)))
    twice.push(...[...seen].filter(([, count]) => count > 1).map(([id]) => id))
    wrong.push(...mustNot.filter((id) => seen.has(id)))
  }
  const clean = lost.length + twice.length + wrong.length === 0
  const number = (n: number): string => n.toLocaleString('en-US')
  const line = `ledger: ${number(sent)} sent · ${number(once)} once · ${number(lost.length)} lost · ${number(twice.length)} twice`
  return { sent, once, lost, twice, wrong, line, clean }
}
