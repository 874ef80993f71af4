/** A KV bucket of the simulated broker, as one process has it: what services/mail/kv/bucket.ts is on a real one. */
import { JetStreamApiError } from '@nats-io/jetstream'
import { RevisionConflict } from '../../services/mail/kv/account-record.ts'
import type { Bucket, RawEntry } from '../../services/mail/kv/bucket.ts'
import type { Broker, BrokerStream, Stored } from './broker.ts'
import type { Link } from './link.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const WRONG_LAST = 10071

export type SimBucket = Pick<
  Bucket,
  | 'name'
  | 'createdMs'
  | 'connection'
  | 'highest'
  | 'forgetAbove'
  | 'isWhole'
  | 'lookUpCreatedMs'
  | 'read'
  | 'write'
  | 'remove'
  | 'follow'
  | 'lastPresent'
>

/** @param compares false: a write replaces whatever stands there. */
export function bucketOf(broker: Broker, name: string, link: Link, compares = true): SimBucket {
  const stream: BrokerStream = broker.stream(`KV_${name}`)
  const subjectOf = (key: string): string => `$KV.${name}.${key}`
  const entryOf = ({ seq, subject, data, isMarker }: Stored): RawEntry => ({
    key: subject.slice(`$KV.${name}.`.length),
    value: isMarker ? null : decoder.decode(data),
    revision: seq,
  })
  let highest = stream.lastSeq
  const saw = (revision: number): number => {
    highest = Math.max(highest, revision)
    return revision
  }
  const guarded = async <T>(key: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === WRONG_LAST)
        throw new RevisionConflict(`${name}/${key}`, { cause: error })
      throw error
    }
  }
  /** A key that was deleted is as absent as one that never was. */
  const expected = (key: string, revision: number | null): number => {
    if (revision !== null) return revision
    const last = stream.lastOf(subjectOf(key))
    return last?.isMarker === true ? last.seq : 0
  }
  return {
    name,
    createdMs: stream.createdMs,
    get connection() {
      return link.connection
    },
    get highest() {
      return highest
    },
    forgetAbove: (revision) => {
      highest = Math.min(highest, revision)
    },
    async isWhole() {
      const seen = highest
      return (await link.request(() => stream.lastSeq)) >= Math.min(seen, highest)
    },
    lookUpCreatedMs: () => link.request(() => stream.createdMs),
    async read(key) {
      const found = await link.request(() => stream.lastOf(subjectOf(key)))
      if (found === null || found.isMarker) return null
      return { value: decoder.decode(found.data), revision: saw(found.seq) }
    },
    write: (key, value, revision, timeoutMs) =>
      guarded(key, async () => {
        const publish = () =>
          stream.publish(subjectOf(key), encoder.encode(value), {
            ...(compares && { expectLast: expected(key, revision) }),
            keepOne: true,
          })
        return saw((await link.request(publish, timeoutMs)).seq)
      }),
    remove: (key, revision) =>
      guarded(key, async () => {
        const options = { expectLast: revision, keepOne: true, isMarker: true }
        await link.request(() => stream.publish(subjectOf(key), new Uint8Array(), options))
      }),
    async follow(onEntry, onSnapshot, signal) {
      signal.throwIfAborted()
      const present = await link.request(() => stream.lastSeq)
      if (signal.aborted) return
      await new Promise<void>((resolve) => {
        let sent = 0
        let isComplete = false
        const complete = (seq: number): void => {
          if (isComplete || signal.aborted || seq < present) return
          isComplete = true
          onSnapshot()
        }
        const pump = (): void => {
          for (const message of [...stream.messages].toSorted((a, b) => a.seq - b.seq)) {
            if (message.seq <= sent) continue
            const isSent = link.push(() => {
              if (signal.aborted) return
              onEntry({ ...entryOf(message), revision: saw(message.seq) })
              complete(message.seq)
            })
            if (!isSent) return
            sent = message.seq
          }
          if (sent < present && !isComplete) link.push(() => complete(present))
        }
        const stops = [stream.watch(pump), link.whenOpen(pump)]
        signal.addEventListener(
          'abort',
          () => {
            for (const stop of stops) stop()
            resolve()
          },
          { once: true },
        )
        pump()
        if (present === 0) link.push(() => complete(0))
      })
    },
    lastPresent: (seen = 0) =>
      link.request(() => {
        if (stream.size === 0) return null
        if (stream.lastSeq <= seen) return seen
        return Math.max(...[...stream.messages].map(({ seq }) => seq))
      }),
  }
}
