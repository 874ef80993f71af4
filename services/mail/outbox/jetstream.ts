/** The JetStream clients that stream and relay share, with the short deadline that a reconnecting link needs. */
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '#shared/nats.ts'

const TIMEOUT_MS = 2_000

export async function openJetStream(nc: NatsConnection): Promise<{ js: JetStreamClient; jsm: JetStreamManager }> {
  // checkAPI would throw the client's own words where JetStream is off; the stream check says what to do.
  return {
    js: jetstream(nc, { timeout: TIMEOUT_MS }),
    jsm: await jetstreamManager(nc, { timeout: TIMEOUT_MS, checkAPI: false }),
  }
}
