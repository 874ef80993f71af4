/** The JetStream clients of one process on the simulated broker: the calls that outbox/ and owner/ make, and no others. */
import type { Consumer, JetStreamClient, JetStreamManager, JsMsg } from '@nats-io/jetstream'
import { EVENT_STREAM } from '#shared/subjects.ts'
import type { Snapshots } from '../../services/mail/outbox/snapshots.ts'
import type { Broker, Stored } from './broker.ts'
import type { Link } from './link.ts'

type Query = { seq?: number; last_by_subj?: string; next_by_subj?: string }
type Reader = { name: string; subject: string; next: number; delivered: number }

/** A whole client would be thousands of lines; a call that is not here fails the run. */
const only = <T>(part: object): T => part as T

export function jetstreamOf(broker: Broker, link: Link): { js: JetStreamClient; jsm: JetStreamManager } {
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
        stream.publish(subject, data, { msgId: options.msgID, ...(expectLast !== undefined && { expectLast }) })
      return await link.request(publish, options.timeout)
    },
    consumers: {
      getConsumerFromInfo: ({ name }: { name: string }): Pick<Consumer, 'fetch'> => ({
        fetch: only(async ({ max_messages }: { max_messages: number }) => {
          const batch = await link.request(() => {
            const reader = readers.get(name)
            const found: JsMsg[] = []
            while (reader !== undefined && found.length < max_messages) {
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
          const reader = { name: config.name, subject: config.filter_subject, next: config.opt_start_seq, delivered: 0 }
          readers.set(config.name, reader)
          return { name: config.name, num_pending: pendingOf(reader) }
        }),
      delete: (_name: string, name: string) => link.request(() => readers.delete(name)),
    },
  }
  return { js: only(js), jsm: only(jsm) }
}

export type Objects = Map<string, Uint8Array>

/** The object store: each object comes whole or not at all. */
export function snapshotsOf(
  objects: Objects,
  link: Link,
): Pick<Snapshots, 'get' | 'put' | 'remove' | 'inTurn' | 'createdMs'> {
  return {
    createdMs: 1_690_000_000_000,
    inTurn: (work) => work(),
    put: (name, bytes) => link.request(() => void objects.set(name, bytes)),
    get: (name) => link.request(() => objects.get(name) ?? null),
    remove: (name) => link.request(() => void objects.delete(name)),
  }
}
