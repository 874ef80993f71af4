/** The JetStream clients of one process on the simulated broker: the calls that outbox/ and owner/ make, and no others. */
import {
  type Consumer,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
} from '@nats-io/jetstream'
import { EVENT_STREAM, SNAPSHOT_STREAM } from '#shared/subjects.ts'
import type { BatchLink } from '../../services/mail/kv/atomic-batch.ts'
import type { Batches } from '../../services/mail/outbox/publish-batch.ts'
import type { Snapshots } from '../../services/mail/outbox/snapshots.ts'
import type { BatchAck, Broker, Stored } from './broker.ts'
import type { Link } from './link.ts'

type Query = { seq?: number; last_by_subj?: string; next_by_subj?: string }
type Reader = { name: string; subject: string; next: number; delivered: number; falls: number }

const encoder = new TextEncoder()

/** A whole client would be thousands of lines; a call that is not here fails the run. */
const only = <T>(part: object): T => part as T

/** @param disk of the process */
export function jetstreamOf(broker: Broker, link: Link, disk: string): { js: JetStreamClient; jsm: JetStreamManager } {
  const stream = broker.stream(EVENT_STREAM)
  const readers = new Map<string, Reader>()
  const pendingOf = ({ subject, next }: Reader): number =>
    [...stream.messages].filter((message) => message.subject === subject && message.seq >= next).length
  const js = {
    publish: async (
      subject: string,
      data: Uint8Array,
      options: { msgID: string; timeout: number; expect?: { lastSubjectSequence: number } },
    ) => {
      const expectLast = options.expect?.lastSubjectSequence
      const publish = () =>
        stream.publish(subject, data, {
          msgId: options.msgID,
          by: disk,
          ...(expectLast !== undefined && { expectLast }),
        })
      return await link.request(publish, options.timeout)
    },
    consumers: {
      getConsumerFromInfo: ({ name }: { name: string }): Pick<Consumer, 'fetch'> => ({
        fetch: only(async ({ max_messages }: { max_messages: number }) => {
          const batch = await link.request(() => {
            const reader = readers.get(name)
            const found: JsMsg[] = []
            // A reader is kept in memory.
            while (reader?.falls === broker.falls && found.length < max_messages) {
              const message = stream.nextOf(reader.subject, reader.next)
              if (message === null) break
              reader.next = message.seq + 1
              reader.delivered += 1
              const info = { deliverySequence: reader.delivered, pending: pendingOf(reader) }
              found.push(only({ ...message, info }))
            }
            return found
          })
          return (async function* () {
            yield* batch
          })()
        }),
      }),
    },
  }
  const get = ({ seq, last_by_subj: last, next_by_subj: next }: Query): Stored | null => {
    if (last !== undefined) return stream.lastOf(last)
    if (next !== undefined) return stream.nextOf(next, seq ?? 1)
    return stream.at(seq ?? 0)
  }
  const jsm = {
    streams: {
      info: () =>
        link.request(() => ({
          created: new Date(stream.createdMs).toISOString(),
          state: { first_seq: stream.firstSeq, last_seq: stream.lastSeq, messages: stream.size },
        })),
      getMessage: (_name: string, query: Query) => link.request(() => get(query)),
    },
    consumers: {
      add: (_name: string, config: { name: string; filter_subject: string; opt_start_seq: number }) =>
        link.request(() => {
          const { filter_subject: subject, opt_start_seq: next } = config
          const reader = { name: config.name, subject, next, delivered: 0, falls: broker.falls }
          readers.set(config.name, reader)
          return { name: config.name, num_pending: pendingOf(reader) }
        }),
      delete: (_name: string, name: string) => link.request(() => readers.delete(name)),
    },
  }
  return { js: only(js), jsm: only(jsm) }
}

/** What batches of events are sent with: what the service puts on the wire is read as a server reads it. */
export function batchesOf(broker: Broker, link: Link, disk: string, areTaken: boolean): Batches {
  const stream = broker.stream(EVENT_STREAM)
  const take = (...[subject, data, options]: Parameters<BatchLink['publish']>): string => {
    const header = (name: string): string => options?.headers?.get(name) ?? ''
    const [msgId, expected] = [header('Nats-Msg-Id'), header('Nats-Expected-Last-Subject-Sequence')]
    const part = {
      id: header('Nats-Batch-Id'),
      place: Number(header('Nats-Batch-Sequence')),
      isLast: header('Nats-Batch-Commit') === '1',
      ...(msgId !== '' && { msgId }),
      ...(expected !== '' && { expectLast: Number(expected) }),
    }
    return answerOf(() => stream.takePart({ ...part, subject, data: Buffer.from(data ?? ''), by: disk }))
  }
  return {
    areTaken: () => areTaken,
    fewest: 2,
    // So small that most outboxes are several batches.
    most: 3,
    link: {
      publish: (...sent) => link.send(() => void take(...sent)),
      request: async (subject, data, options) => {
        const text = await link.request(() => take(subject, data, options), options?.timeout)
        return only({ data: encoder.encode(text), json: () => JSON.parse(text) })
      },
    },
  }
}

/** The answer to a message of a batch as the server writes it. */
function answerOf(take: () => BatchAck | null): string {
  try {
    const ack = take()
    return ack === null ? '' : JSON.stringify({ stream: EVENT_STREAM, ...ack })
  } catch (error) {
    if (!(error instanceof JetStreamApiError)) throw error
    return JSON.stringify({ error: { err_code: error.code, description: error.message } })
  }
}

/** The object store: each object comes whole or not at all. */
export function snapshotsOf(
  broker: Broker,
  link: Link,
): Pick<Snapshots, 'get' | 'put' | 'remove' | 'inTurn' | 'createdMs'> {
  const stream = broker.stream(SNAPSHOT_STREAM)
  const write = (name: string, data: Uint8Array, isMarker: boolean): Promise<void> =>
    link.request(() => void stream.publish(name, data, { keepOne: true, isMarker }))
  return {
    createdMs: stream.createdMs,
    inTurn: (work) => work(),
    put: async (name, pieces) => {
      const whole: Uint8Array[] = []
      for await (const piece of pieces) whole.push(piece)
      await write(name, Buffer.concat(whole), false)
    },
    remove: (name) => write(name, new Uint8Array(), true),
    get: (name) =>
      link.request(() => {
        const found = stream.lastOf(name)
        return found === null || found.isMarker ? null : found.data
      }),
  }
}
