/** The audit trail as it stands on the server: every record, in order of sequence; and a stream that takes none. */
import { jetstreamManager } from '@nats-io/jetstream'
import * as v from 'valibot'
import type { NatsConnection } from '#shared/nats.ts'
import { TRAIL_STREAM, TRAIL_SUBJECT_ALL, trailSubject } from '#shared/subjects.ts'
import { TrailRecord } from '#shared/trail.ts'
import { answered } from '../../support/until.ts'

/** @throws when one does not fit the schema, or stands on the subject of another */
export async function trailOf(ops: NatsConnection): Promise<TrailRecord[]> {
  const jsm = await answered(() => jetstreamManager(ops))
  const records: TrailRecord[] = []
  for (let seq = 1; ; ) {
    const query = { seq, next_by_subj: TRAIL_SUBJECT_ALL }
    const message = await answered(() => jsm.streams.getMessage(TRAIL_STREAM, query))
    if (message === null) return records
    const record = v.parse(v.strictObject(TrailRecord.entries), message.json())
    if (message.subject !== trailSubject(record.user, record.action)) throw new Error(`${record.id} is misplaced`)
    records.push(record)
    seq = message.seq + 1
  }
}

/** From now on the stream takes nothing, or everything again. */
export async function setFull(ops: NatsConnection, isFull: boolean): Promise<void> {
  await (await jetstreamManager(ops)).streams.update(TRAIL_STREAM, { max_bytes: isFull ? 1 : -1 })
}
