/**
 * The events as a consumer gets them: NATS user `consumer`, a JetStream consumer on the events of all users.
 * It remembers what it saw; whether that is right is asked of the stream itself, at the end.
 */
import { type ConsumerMessages, DeliverPolicy, jetstream } from '@nats-io/jetstream'
import * as v from 'valibot'
import { EmailReceived, type ProviderUpper } from '#shared/event.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM, EVENT_SUBJECT_ALL, inboxPrefix } from '#shared/subjects.ts'

const SEEN_KEPT = 100_000
const LATEST_KEPT = 20

export type Seen = { seq: number; subject: string; atMs: number; event: EmailReceived }

export async function followEvents(nc: NatsConnection): Promise<Events> {
  const js = jetstream(nc, { watcherPrefix: inboxPrefix('consumer') })
  const consumer = await js.consumers.get(EVENT_STREAM, {
    filter_subjects: EVENT_SUBJECT_ALL,
    deliver_policy: DeliverPolicy.All,
  })
  return new Events(await consumer.consume())
}

export class Events {
  total = 0
  /** The last ones, newest first. */
  readonly latest: Seen[] = []
  readonly #messages: ConsumerMessages
  #fault: unknown
  /** When each mail's event came, epoch ms. */
  readonly #seenAtMs = new Map<string, number>()

  constructor(messages: ConsumerMessages) {
    this.#messages = messages
    this.#read().catch((error) => {
      this.#fault = error
    })
  }
  /** @throws what ended the reading, for example an event that does not fit the schema. */
  check(): void {
    if (this.#fault !== undefined) throw this.#fault
  }
  /** When the event of this mail came, epoch ms; undefined while it has not. */
  seenAtMs(provider: ProviderUpper, id: string): number | undefined {
    return this.#seenAtMs.get(`${provider} ${id}`)
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#messages.close()
  }
  async #read(): Promise<void> {
    for await (const message of this.#messages) {
      const event = v.parse(EmailReceived, message.json())
      const atMs = Date.now()
      this.total += 1
      this.latest.unshift({ seq: message.seq, subject: message.subject, atMs, event })
      if (this.latest.length > LATEST_KEPT) this.latest.pop()
      const key = `${event.provider} ${event.provider_message_id}`
      if (!this.#seenAtMs.has(key)) this.#seenAtMs.set(key, atMs)
      const [oldest] = this.#seenAtMs.keys()
      if (this.#seenAtMs.size > SEEN_KEPT && oldest !== undefined) this.#seenAtMs.delete(oldest)
    }
  }
}
