/** What a take-over and a checkpoint work with beside store and KV: the real object store and the real stream. */
import type { NatsConnection } from '#shared/nats.ts'
import { refillLane } from '../../../services/mail/base/model.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { openJetStream } from '../../../services/mail/outbox/jetstream.ts'
import { Snapshots } from '../../../services/mail/outbox/snapshots.ts'
import { ensureEventStream } from '../../../services/mail/outbox/stream.ts'
import { eventAt, streamFacts, streamHolds } from '../../../services/mail/outbox/stream-facts.ts'

export const RETENTION_MS = 30 * 86_400_000

export async function takeoverParts(nc: NatsConnection) {
  const { js, jsm } = await openJetStream(nc)
  await ensureEventStream(jsm, { retentionDays: 30, dedupeWindowMs: 1_000, maxBytes: 64 * 1024 ** 2 })
  return {
    snapshots: await Snapshots.open(js, jsm, 1),
    streamFacts: streamFacts(jsm, systemClock),
    streamHolds: streamHolds(jsm),
    eventAt: eventAt(jsm),
    retentionMs: RETENTION_MS,
    refillLanes: () => [refillLane()],
    accounts: { ofUser: () => [] },
    /** Nothing is read unless a test says what. */
    readBack: async (): Promise<number | null> => null,
  }
}
