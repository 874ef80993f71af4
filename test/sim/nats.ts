/** NATS as one process has it: what services/mail/app/broker.ts is on a real server, with the same watch over it. */

import type { Log } from '#shared/log.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { BUCKET_STATE } from '#shared/subjects.ts'
import { type Broker, watchBroker } from '../../services/mail/app/broker.ts'
import type { Clock } from '../../services/mail/base/time.ts'
import type { Bucket } from '../../services/mail/kv/bucket.ts'
import { Buckets } from '../../services/mail/kv/buckets.ts'
import { eventAt, streamFacts, streamHolds } from '../../services/mail/outbox/stream-facts.ts'
import type { Broker as SimBroker } from './broker.ts'
import { bucketOf, type SimBucket } from './bucket.ts'
import { batchesOf, jetstreamOf, snapshotsOf } from './jetstream.ts'
import type { Link } from './link.ts'
import type { Mutant } from './mutants.ts'

type Nats = Pick<Broker, 'js' | 'jsm' | 'batches' | 'buckets' | 'streamFacts' | 'streamHolds' | 'eventAt' | 'watch'> & {
  snapshots: ReturnType<typeof snapshotsOf>
}
type Own = { link: Link; clock: Clock; log: Log; disk: string; isGone(): boolean }

/** @param own what the process has for itself */
export async function natsOf(
  { broker, mutant, takesBatches }: { broker: SimBroker; mutant: Mutant | null; takesBatches: boolean },
  { link, clock, log, disk, isGone }: Own,
): Promise<Nats> {
  const open = (name: string): SimBucket => bucketOf(broker, name, link, name !== BUCKET_STATE || mutant !== 'cas')
  const buckets = await Buckets.open(async (name) => open(name) as Bucket)
  const { js, jsm } = jetstreamOf(broker, link, disk)
  const connection = { status: () => statusOf(link), isClosed: isGone } as NatsConnection
  return {
    js,
    jsm,
    batches: batchesOf(broker, link, disk, takesBatches),
    buckets,
    snapshots: snapshotsOf(broker, link),
    streamFacts: streamFacts(jsm, clock),
    streamHolds: streamHolds(jsm),
    eventAt: eventAt(jsm),
    watch: (on, stop) => watchBroker(connection, () => buckets.verify(on.noticed), on, clock, log, stop),
  }
}

async function* statusOf(link: Link): ReturnType<NatsConnection['status']> {
  for (;;) {
    await link.reconnected()
    yield { type: 'reconnect', server: 'sim' }
  }
}
