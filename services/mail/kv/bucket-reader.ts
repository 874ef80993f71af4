/**
 * A reader of all that a bucket has and gets, in order. The watch of the KV library leaves its consumer behind: for five
 * minutes after each reconnect and each killed process, and a server that restarts waits for them anew. This one is
 * removed when its reader ends, does not outlive the server, and is dropped when nobody has listened for ten seconds.
 */
import { randomUUID } from 'node:crypto'
import { AckPolicy, type ConsumerMessages, DeliverPolicy, type JetStreamManager, type JsMsg } from '@nats-io/jetstream'
import { createInbox, nanos } from '#shared/nats.ts'

const HEARTBEAT_NS = nanos(5_000)
/** Without a listener the server keeps the consumer for so long. */
const LIFE_NS = nanos(10_000)

export type BucketReader = {
  /** The present values, then every change, until it is stopped. @throws Error when one got lost on the way */
  messages: AsyncIterable<JsMsg>
  /** How many values there were when it began. */
  present: number
  stop(): void
}

/** @param stream behind the bucket */
export async function readBucket(jsm: JetStreamManager, stream: string): Promise<BucketReader> {
  const pushed = { deliver_subject: createInbox(jsm.getOptions().watcherPrefix), idle_heartbeat: HEARTBEAT_NS }
  const { name, num_pending: present } = await jsm.consumers.add(stream, {
    ...pushed,
    name: `mail-watch-${randomUUID()}`,
    deliver_policy: DeliverPolicy.LastPerSubject,
    filter_subject: '>',
    ack_policy: AckPolicy.None,
    flow_control: true,
    inactive_threshold: LIFE_NS,
    mem_storage: true,
    num_replicas: 1,
  })
  const consumer = await jsm.jetstream().consumers.getBoundPushConsumer(pushed)
  const messages = await consumer.consume()
  // However it ends. When NATS is away or was replaced, the consumer goes by itself.
  void messages
    .closed()
    .then(() => jsm.consumers.delete(stream, name))
    .catch(() => undefined)
  return { messages: inOrder(messages), present, stop: () => messages.stop() }
}

async function* inOrder(messages: ConsumerMessages): AsyncGenerator<JsMsg> {
  let delivered = 0
  for await (const message of messages) {
    if (message.info.deliverySequence !== ++delivered) throw new Error('an entry got lost on the way')
    yield message
  }
}
