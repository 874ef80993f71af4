/**
 * The stream MAIL_AUDIT: made when absent, refused when somebody could take a record out of it again. Each user has a bounded
 * number of records of each action, so nobody can fill it, and nobody's records push out another's.
 */
import { DiscardPolicy, type JetStreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import { TRAIL_STREAM, TRAIL_SUBJECT_ALL } from '#shared/subjects.ts'
import { ensureReplicas } from '../kv/replication.ts'
import { createStream, refuseDifference, streamInfo } from './stream-config.ts'

const KEPT_NS = 400 * 86_400_000 * 1_000_000

/** What the trail relies on. */
const RELIED_ON = {
  subjects: [TRAIL_SUBJECT_ALL],
  storage: StorageType.File,
  retention: RetentionPolicy.Limits,
  discard: DiscardPolicy.New,
  discard_new_per_subject: false,
  max_msgs: -1,
  max_bytes: -1,
  sealed: false,
  deny_delete: true,
  deny_purge: true,
  allow_rollup_hdrs: false,
}
/** An operator may keep more or less. */
const AT_FIRST = { max_age: KEPT_NS, max_msgs_per_subject: 200 }

/** @throws ExitError 78 naming field, found and wanted */
export async function ensureTrailStream(jsm: JetStreamManager, replicas: number): Promise<void> {
  const made = { name: TRAIL_STREAM, ...RELIED_ON, ...AT_FIRST, num_replicas: replicas }
  const { config } = (await streamInfo(jsm, TRAIL_STREAM)) ?? (await createStream(jsm, made))
  refuseDifference(config, RELIED_ON)
  await ensureReplicas(jsm, TRAIL_STREAM, replicas)
}
