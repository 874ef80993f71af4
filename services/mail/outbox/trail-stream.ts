/**
 * The stream MAIL_AUDIT: made when absent, refused when somebody could take a record out of it again. Each user has a bounded
 * number of records of each action, so nobody can fill it, and nobody's records push out another's.
 */
import {
  DiscardPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import { TRAIL_STREAM, TRAIL_SUBJECT_ALL } from '#shared/subjects.ts'
import { ensureReplicas, replicated } from '../kv/replication.ts'

const KEPT_NS = 400 * 86_400_000 * 1_000_000
const STREAM_NAME_IN_USE = 10058

/** What the trail relies on. The server leaves fields out that are off or empty. */
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
} as const
/** An operator may keep more or less. */
const AT_FIRST = { max_age: KEPT_NS, max_msgs_per_subject: 200 }

/** @throws ExitError 78 naming field, found and wanted */
export async function ensureTrailStream(jsm: JetStreamManager, replicas: number): Promise<void> {
  const config = (await configOf(jsm)) ?? (await create(jsm, replicas))
  for (const [field, wanted] of Object.entries(RELIED_ON)) {
    const found = config[field as keyof typeof RELIED_ON] ?? false
    if (JSON.stringify(found) !== JSON.stringify(wanted))
      throw new ExitError(
        EXIT_CONFIG,
        `stream ${TRAIL_STREAM}: ${field} is ${JSON.stringify(found)}, ${JSON.stringify(wanted)} is needed`,
      )
  }
  await ensureReplicas(jsm, TRAIL_STREAM, replicas)
}

async function configOf(jsm: JetStreamManager) {
  try {
    return (await jsm.streams.info(TRAIL_STREAM)).config
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound) return null
    throw error
  }
}

async function create(jsm: JetStreamManager, replicas: number) {
  const config = {
    name: TRAIL_STREAM,
    ...RELIED_ON,
    ...AT_FIRST,
    subjects: [TRAIL_SUBJECT_ALL],
    num_replicas: replicas,
  }
  try {
    await replicated(TRAIL_STREAM, replicas, () => jsm.streams.add(config))
  } catch (error) {
    // Another instance was quicker; what it made is compared like any other.
    if (!(error instanceof JetStreamApiError) || error.code !== STREAM_NAME_IN_USE) throw error
  }
  return (await jsm.streams.info(TRAIL_STREAM)).config
}
