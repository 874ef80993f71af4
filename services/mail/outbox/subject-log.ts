/**
 * Reading one user's subject back from the stream. Single messages come from the stream's leader, because a replica
 * may lag behind what was acknowledged. It writes nothing and judges nothing.
 */
import { randomUUID } from 'node:crypto'
import {
  AckPolicy,
  type Consumer,
  type ConsumerConfig,
  type ConsumerInfo,
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
} from '@nats-io/jetstream'
import type { Log } from '#shared/log.ts'
import { EVENT_STREAM } from '#shared/subjects.ts'

/** A message without its payload; `msgId` is what it was published under. */
export type LogEntry = { seq: number; msgId: string | null }
export type LogMessage = { seq: number; subject: string; data: Uint8Array }
export type LogFacts = {
  /** Creation time of the stream, epoch ms: a stream made anew has another one. */
  createdMs: number
  firstSeq: number
  lastSeq: number
}

const BATCH = 200
/** So many messages are asked for one by one: making and removing a reader costs more. */
const SINGLES_MAX = 4
/** A read that gets nothing for so long has failed; the caller starts again from what it has stored. */
const SILENCE_MS = 3_000
/** How long the server keeps a reader that died. */
const READER_LIFE_NS = 30_000_000_000

/** NATS has not said what it was asked; like a request that nobody answered. */
export class SilentStream extends Error {
  override readonly name = 'TimeoutError'
}

/** Null also for headers that nobody of ours has written, and that cannot be read. */
function msgIdOf(message: JsMsg): string | null {
  try {
    return message.headers?.get('Nats-Msg-Id') || null
  } catch {
    return null
  }
}

export class SubjectLog {
  readonly #js: JetStreamClient
  readonly #jsm: JetStreamManager
  readonly #log: Log
  readonly subject: string

  constructor(js: JetStreamClient, jsm: JetStreamManager, subject: string, log: Log) {
    this.#js = js
    this.#jsm = jsm
    this.#log = log
    this.subject = subject
  }

  async facts(): Promise<LogFacts> {
    const info = await this.#jsm.streams.info(EVENT_STREAM)
    return { createdMs: Date.parse(info.created), firstSeq: info.state.first_seq, lastSeq: info.state.last_seq }
  }

  /** The message at a sequence, of whatever subject; null when there is none. */
  async at(seq: number): Promise<LogMessage | null> {
    return await this.#jsm.streams.getMessage(EVENT_STREAM, { seq })
  }

  /** The newest message on the subject; null when it is empty. */
  async newest(): Promise<LogMessage | null> {
    return await this.#jsm.streams.getMessage(EVENT_STREAM, { last_by_subj: this.subject })
  }

  /** Its sequence; 0 when the subject is empty. */
  async end(): Promise<number> {
    return (await this.newest())?.seq ?? 0
  }

  /**
   * The subject from `from` to at least `to`, in order and without a gap, in batches.
   * @throws Error when the server falls silent or a message got lost on the way; what was yielded before is right.
   */
  async *read(from: number, to: number, signal: AbortSignal): AsyncGenerator<LogMessage[]> {
    const few: LogMessage[] = []
    let next = Math.max(from, 1)
    while (few.length < SINGLES_MAX) {
      signal.throwIfAborted()
      const message = await this.next(next)
      if (message === null) break
      few.push(message)
      next = message.seq + 1
      if (message.seq < to) continue
      yield few
      return
    }
    if (few.length > 0) yield few
    yield* this.#readMany(next, to, signal)
  }

  /** The next message of the subject at or behind a sequence. */
  async next(seq: number): Promise<LogMessage | null> {
    // Known to every server that we take; the type of the library knows it for direct gets only.
    const query = { seq, next_by_subj: this.subject }
    return await this.#jsm.streams.getMessage(EVENT_STREAM, query)
  }

  /**
   * What stands on the subject from a sequence on, at most `count` messages, in order and without a gap.
   * @returns fewer only where the subject ends
   * @throws as `read` does
   */
  async entries(from: number, count: number, signal: AbortSignal): Promise<LogEntry[]> {
    signal.throwIfAborted()
    const info = await this.#add(from, { headers_only: true })
    try {
      const wanted = Math.min(count, info.num_pending)
      const batch = wanted === 0 ? [] : await fetchBatch(this.#js.consumers.getConsumerFromInfo(info), wanted)
      if (batch.length < wanted) throw new SilentStream(`the stream fell silent after ${batch.length} of ${wanted}`)
      return batch.map((message, at) => {
        if (message.info.deliverySequence !== at + 1) throw new SilentStream('a message got lost while reading back')
        return { seq: message.seq, msgId: msgIdOf(message) }
      })
    } finally {
      await this.#remove(info)
    }
  }

  async *#readMany(from: number, to: number, signal: AbortSignal): AsyncGenerator<LogMessage[]> {
    signal.throwIfAborted()
    const info = await this.#add(from)
    try {
      const reader = this.#js.consumers.getConsumerFromInfo(info)
      let [seq, delivered, pending] = [from - 1, 0, info.num_pending]
      while (seq < to) {
        signal.throwIfAborted()
        const batch = await fetchBatch(reader, Math.min(BATCH, Math.max(pending, 1)))
        for (const message of batch) {
          if (message.info.deliverySequence !== ++delivered) throw new Error('a message got lost while reading back')
          seq = message.seq
          pending = message.info.pending
        }
        if (batch.length === 0) throw new Error(`the stream fell silent while reading back, at ${seq} of ${to}`)
        yield batch
      }
    } finally {
      await this.#remove(info)
    }
  }

  async #add(from: number, more: Partial<ConsumerConfig> = {}): Promise<ConsumerInfo> {
    return await this.#jsm.consumers.add(EVENT_STREAM, {
      name: `mail-read-${randomUUID()}`,
      filter_subject: this.subject,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: Math.max(from, 1),
      ack_policy: AckPolicy.None,
      inactive_threshold: READER_LIFE_NS,
      mem_storage: true,
      num_replicas: 1,
      ...more,
    })
  }

  async #remove({ name }: ConsumerInfo): Promise<void> {
    await this.#jsm.consumers.delete(EVENT_STREAM, name).catch((error) => {
      // The server removes it by itself after READER_LIFE_NS.
      this.#log.debug({ err: error }, 'a reader of the stream could not be removed')
    })
  }
}

async function fetchBatch(reader: Consumer, count: number): Promise<JsMsg[]> {
  const batch: JsMsg[] = []
  const messages = await reader.fetch({ max_messages: count, expires: SILENCE_MS })
  for await (const message of messages) batch.push(message)
  return batch
}
