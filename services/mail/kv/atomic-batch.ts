/**
 * One atomic batch of a stream, as ADR-50 of NATS has it: all of its messages are stored, one directly behind the other, or
 * none is. It decides nothing about a batch that was refused, and repeats none.
 *
 * The client's own batches carry no expectation per message, so the headers are set here.
 */
import type { JetStreamManager } from '@nats-io/jetstream'
import { atLeast, headers, type NatsConnection } from '#shared/nats.ts'
import { uuidV7 } from '#shared/uuid.ts'

/** Servers before know no batches, 2.12.0 none with message ids. */
const BATCHES_SINCE = '2.12.1'

/** What of a connection a batch is sent with. */
export type BatchLink = Pick<NatsConnection, 'publish' | 'request'>
export type BatchedWrite = {
  subject: string
  data: Uint8Array
  /** Refused unless the newest message on the subject is at this sequence. Only for the first of a subject in a batch. */
  lastSeq?: number
  msgId?: string
}

export class AtomicBatch {
  readonly #link: BatchLink
  readonly #timeoutMs: number
  readonly #id = uuidV7()
  #size = 0

  /** @param timeoutMs how long an answer is waited for; after that it is open whether the batch was stored */
  constructor(link: BatchLink, timeoutMs: number) {
    this.#link = link
    this.#timeoutMs = timeoutMs
  }

  /**
   * Sends the first message and waits until the server holds it; nothing is stored yet. False when it refuses the batch.
   * @throws what the connection throws; Error when the server knows no batches and has taken the message for a single one
   */
  async begin(write: BatchedWrite): Promise<boolean> {
    const answer = await this.#link.request(write.subject, write.data, this.#options(write))
    if (answer.data.length === 0) return true
    if (answer.json<{ error?: unknown }>().error !== undefined) return false
    throw new Error('the server knows no atomic batches: the message may be stored')
  }

  /** Sends a message and waits for nothing. @throws what the connection throws, for one that is too large too */
  add(write: BatchedWrite): void {
    this.#link.publish(write.subject, write.data, this.#options(write))
  }

  /**
   * Sends the last message. Answers the sequence under which it is stored, those before it directly before; null when
   * the batch was refused: nothing of it is stored.
   * @throws what the connection throws; Error when less was stored than was sent
   */
  async commit(write: BatchedWrite): Promise<number | null> {
    const options = this.#options(write)
    options.headers.set('Nats-Batch-Commit', '1')
    const answer = await this.#link.request(write.subject, write.data, options)
    const { error, seq, count } = answer.json<{ error?: unknown; seq?: number; count?: number }>()
    if (error !== undefined) return null
    if (seq === undefined || count !== this.#size) throw new Error(`${count} of a batch of ${this.#size} are stored`)
    return seq
  }

  #options({ lastSeq, msgId }: BatchedWrite): { headers: ReturnType<typeof headers>; timeout: number } {
    const found = headers()
    found.set('Nats-Batch-Id', this.#id)
    found.set('Nats-Batch-Sequence', String(++this.#size))
    if (lastSeq !== undefined) found.set('Nats-Expected-Last-Subject-Sequence', String(lastSeq))
    if (msgId !== undefined) found.set('Nats-Msg-Id', msgId)
    return { headers: found, timeout: this.#timeoutMs }
  }
}

/** Whether the server that is connected knows batches; false while none is. */
export const knowsBatches = (nc: NatsConnection): boolean => atLeast(nc.info?.version ?? '0', BATCHES_SINCE)

/** Whether the stream takes batches, after it was told to. */
export async function takesBatches(nc: NatsConnection, jsm: JetStreamManager, stream: string): Promise<boolean> {
  if (!knowsBatches(nc)) return false
  const { config } = await jsm.streams.info(stream)
  if (config.allow_atomic === true) return true
  return (await jsm.streams.update(stream, { allow_atomic: true })).config.allow_atomic === true
}
