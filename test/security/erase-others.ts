/**
 * What there is of other users while one is erased, with every byte. Of grace, who is connected: events, record, the rows of her
 * mails and of her tokens. Of adam, who has left and for whom nobody works: also positions, snapshot and database file.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '#shared/nats.ts'
import {
  accountKey,
  BUCKET_ACCOUNTS,
  BUCKET_STATE,
  bucketStream,
  bucketSubject,
  EVENT_STREAM,
  SNAPSHOT_STREAM,
  snapshotChunkSubject,
  snapshotName,
  snapshotRecordSubject,
  stateKey,
} from '#shared/subjects.ts'
import { Snapshots } from '../../services/mail/outbox/snapshots.ts'
import { readDb, readUserDb } from '../mail/acceptance/support.ts'
import { eventsOf } from '../support/ledger.ts'
import type { Sandbox } from '../support/sandbox.ts'

export const OTHERS = ['grace', 'adam']
type Bytes = { seq: number; headers: string; data: string }

async function bytesAt(jsm: JetStreamManager, stream: string, at: { seq: number } | { last_by_subj: string }) {
  const message = await jsm.streams.getMessage(stream, at)
  if (message === null) throw new Error(`${stream} has nothing at ${JSON.stringify(at)}`)
  const { seq, header, data } = message
  return { seq, headers: header.toString(), data: Buffer.from(data).toString('latin1') } satisfies Bytes
}

/** @param instance that runs; adam's database is on the disk of `old` */
export async function othersOf(box: Sandbox, ops: NatsConnection, instance: string) {
  const jsm = await jetstreamManager(ops)
  const newest = (stream: string, subject: string) => bytesAt(jsm, stream, { last_by_subj: subject })
  const ofBucket = (bucket: string, key: string) => newest(bucketStream(bucket), bucketSubject(bucket, key))
  const eventBytes = async (user: string): Promise<Bytes[]> => {
    const events = await eventsOf(ops, user)
    return await Promise.all(events.map(({ seq }) => bytesAt(jsm, EVENT_STREAM, { seq })))
  }
  const record = await newest(SNAPSHOT_STREAM, snapshotRecordSubject(snapshotOf('adam')))
  return {
    events: await Promise.all(OTHERS.map(eventBytes)),
    records: await Promise.all(OTHERS.map((user) => ofBucket(BUCKET_ACCOUNTS, accountKey(user, 'google', 'primary')))),
    rows: readUserDb(box, instance, 'grace', (db) =>
      ['email_received_events', 'known'].map((table) => db.prepare(`SELECT * FROM ${table} ORDER BY 1`).all()),
    ),
    tokens: readDb(join(box.dir, instance, 'auth.db'), (db) =>
      db.prepare('SELECT * FROM oauth_tokens WHERE user_id = ?').all('grace'),
    ),
    state: await ofBucket(BUCKET_STATE, stateKey('adam')),
    snapshot: [record, await newest(SNAPSHOT_STREAM, snapshotChunkSubject(JSON.parse(record.data).nuid))],
    file: readFileSync(join(box.dir, 'old', 'users', 'adam', 'events.db')).toString('latin1'),
  }
}

const snapshotOf = (user: string): string => snapshotName(user, { era: 1, rev: 1 }, 1)

/** A snapshot of each of these users, as one has who has more mails than a test; with these texts in it. */
export async function putSnapshots(box: Sandbox, texts: Record<string, string>): Promise<void> {
  const nc = await box.connection('mailsync')
  const snapshots = await Snapshots.open(jetstream(nc), await jetstreamManager(nc), 1)
  for (const [user, text] of Object.entries(texts)) await snapshots.put(snapshotOf(user), [Buffer.from(text)])
}
