/**
 * The events as a reader gets them: NATS user `consumer`, by the JetStream consumer that `ops` makes for it.
 * It remembers what it saw; whether that is right is asked of the stream itself, at the end.
 */
import { AckPolicy, type ConsumerMessages, jetstream, jetstreamManager } from '@nats-io/jetstream'
import * as v from 'valibot'
import { EmailReceived, type ProviderUpper } from '#shared/event.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { apiPrefix, EVENT_STREAM, EVENT_SUBJECT_ALL } from '#shared/subjects.ts'

const SEEN_KEPT = 100_000
const LATEST_KEPT = 20

export type Seen = { seq: number; subject: string; atMs: number; event: EmailReceived }

const READER = 'consumer'

export async function followEvents(ops: NatsConnection, reader: NatsConnection): Promise<Events> {
  const jsm = await jetstreamManager(ops)
  await jsm.consumers.add(EVENT_STREAM, {
    durable_name: READER,
    filter_subject: EVENT_SUBJECT_ALL,
    ack_policy: AckPolicy.Explicit,
  })
  const js = jetstream(reader, { apiPrefix: apiPrefix(READER) })
  return new Events(await (await js.consumers.get(EVENT_STREAM, READER)).consume())
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
      message.ack()
      const atMs = Date.now()
      const key = `${event.provider} ${event.provider_message_id}`
      // One whose acknowledgement got lost comes again.
      if (this.#seenAtMs.has(key)) continue
      this.#seenAtMs.set(key, atMs)
      this.total += 1
      this.latest.unshift({ seq: message.seq, subject: message.subject, atMs, event })
      if (this.latest.length > LATEST_KEPT) this.latest.pop()
      const [oldest] = this.#seenAtMs.keys()
      if (this.#seenAtMs.size > SEEN_KEPT && oldest !== undefined) this.#seenAtMs.delete(oldest)
    }
  }
}
