/**
 * Deletes a stream so that the next one of its name can be made at once. With an account's last stream nats-server deletes
 * the account's folder too, after it has answered, and a stream that is made meanwhile finds no folder (10077).
 */
import type { JetStreamManager } from '@nats-io/jetstream'

const NOT_THE_LAST = { name: 'NOT_THE_LAST', subjects: ['not.the.last'] }

export async function deleteStream(jsm: JetStreamManager, name: string): Promise<void> {
  await jsm.streams.add(NOT_THE_LAST)
  await jsm.streams.delete(name)
}
