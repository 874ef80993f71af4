/**
 * All that JetStream holds of a user, to be erased: events, snapshots, checkpoint and claims, records of accounts. Each part up
 * to an end that was looked up before: what comes later is of a user who has connected again. It decides nothing.
 */
import type { JetStreamManager } from '@nats-io/jetstream'
import { accountKeysOf, EVENT_STREAM, eventSubjectsOf, SNAPSHOT_STREAM, stateKeysOf } from '#shared/subjects.ts'
import type { Bucket } from '../kv/bucket.ts'
import { eraseMessages } from '../kv/erase-messages.ts'
import type { Snapshots } from './snapshots.ts'

/** Of each stream the sequence that was given last, and which bucket that of the records is. */
export type Ends = { events: number; snapshots: number; state: number; accounts: number; bucketCreatedMs: number }

export type HoldingsParts = {
  jsm: JetStreamManager
  snapshots: Pick<Snapshots, 'eraseAllOf'>
  buckets: { get(name: 'state' | 'accounts'): Pick<Bucket, 'eraseKeys' | 'lookUpEnd' | 'createdMs'> }
}

export class Holdings {
  readonly #parts: HoldingsParts
  constructor(parts: HoldingsParts) {
    this.#parts = parts
  }

  async ends(): Promise<Ends> {
    const { jsm, buckets } = this.#parts
    const lastOf = async (stream: string): Promise<number> => (await jsm.streams.info(stream)).state.last_seq
    return {
      events: await lastOf(EVENT_STREAM),
      snapshots: await lastOf(SNAPSHOT_STREAM),
      state: await buckets.get('state').lookUpEnd(),
      accounts: await buckets.get('accounts').lookUpEnd(),
      bucketCreatedMs: buckets.get('accounts').createdMs,
    }
  }

  async eraseEvents(userId: string, { events }: Ends, signal: AbortSignal): Promise<void> {
    await eraseMessages(this.#parts.jsm, EVENT_STREAM, eventSubjectsOf(userId), events, signal)
  }

  async eraseSnapshots(userId: string, { snapshots }: Ends, signal: AbortSignal): Promise<void> {
    await this.#parts.snapshots.eraseAllOf(userId, snapshots, signal)
  }

  async eraseState(userId: string, { state }: Ends, signal: AbortSignal): Promise<void> {
    for (const keys of stateKeysOf(userId)) await this.#parts.buckets.get('state').eraseKeys(keys, state, signal)
  }

  async eraseAccounts(userId: string, { accounts }: Ends, signal: AbortSignal): Promise<void> {
    await this.#parts.buckets.get('accounts').eraseKeys(accountKeysOf(userId), accounts, signal)
  }
}
