/**
 * The stream EMAIL_EVENTS: made when absent, kept at the configured limits, refused when it could lose or change events.
 * It reads and writes no event.
 */
import {
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from '@nats-io/jetstream'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import { EVENT_STREAM, EVENT_STREAM_SUBJECT, REQUEST_SUBJECT_ALL } from '#shared/subjects.ts'
import { ensureReplicas } from '../kv/replication.ts'
import { createStream, difference, refuseDifference, streamInfo } from './stream-config.ts'

export type EventStreamConfig = {
  retentionDays: number
  dedupeWindowMs: number
  maxBytes: number
  /** Least number of copies; 1 when absent. */
  replicas?: number
}

const NS_PER_MS = 1_000_000
const MS_PER_DAY = 86_400_000
/** Servers of this API level have atomic batches. */
const ATOMIC_LEVEL = 2
/** "insufficient storage", "storage resources exceeded", "account resources exceeded" */
const NO_ROOM = new Set([10002, 10023, 10047, 10028])

/** What events rely on. */
const RELIED_ON = {
  subjects: [EVENT_STREAM_SUBJECT],
  storage: StorageType.File,
  retention: RetentionPolicy.Limits,
  discard: DiscardPolicy.New,
  discard_new_per_subject: false,
  max_msgs: -1,
  max_msgs_per_subject: -1,
  max_msg_size: -1,
  no_ack: false,
  sealed: false,
  // Erasing a user takes their events out one by one.
  deny_delete: false,
  allow_direct: true,
  allow_rollup_hdrs: false,
}
/** Fields that must not be there at all: messages would come from elsewhere or change their subject. */
const ABSENT = ['mirror', 'sources', 'subject_transform'] as const

/**
 * Makes sure that the stream is there and what events need. Placement and compression are the operator's, and so is
 * a number of replicas above the configured one.
 * @returns its creation time, epoch ms, and whether it takes atomic batches
 * @throws ExitError 78 naming field, found and wanted, or that JetStream is off or too small.
 */
export async function ensureEventStream(
  jsm: JetStreamManager,
  config: EventStreamConfig,
): Promise<{ createdMs: number; isAtomic: boolean }> {
  const level = (await accountInfo(jsm)).api.level ?? 0
  const limits = {
    max_age: config.retentionDays * MS_PER_DAY * NS_PER_MS,
    duplicate_window: config.dedupeWindowMs * NS_PER_MS,
    max_bytes: config.maxBytes,
  }
  const replicas = config.replicas ?? 1
  const found =
    (await streamInfo(jsm, EVENT_STREAM)) ?? (await create(jsm, { ...limits, num_replicas: replicas }, level))
  refuseOther(found.config)
  await ensureReplicas(jsm, EVENT_STREAM, replicas)
  const differs = Object.entries(limits).some(
    ([field, wanted]) => found.config[field as keyof typeof limits] !== wanted,
  )
  // Read back: an older server silently drops what it does not know.
  const info = differs ? await readBack(jsm, limits) : found
  return { createdMs: Date.parse(info.created), isAtomic: info.config.allow_atomic === true }
}

/**
 * Refuses to go on when a stream captures any request, be it of one user only: it would store refresh tokens.
 * @throws ExitError 78
 */
export async function refuseCapturedSubjects(jsm: JetStreamManager): Promise<void> {
  await accountInfo(jsm)
  const [name] = await jsm.streams.names(REQUEST_SUBJECT_ALL).next()
  if (name !== undefined)
    throw new ExitError(
      EXIT_CONFIG,
      `stream ${name} captures subjects of ${REQUEST_SUBJECT_ALL} and would store refresh tokens: take them out of its subjects`,
    )
}

async function accountInfo(jsm: JetStreamManager): ReturnType<JetStreamManager['getAccountInfo']> {
  try {
    return await jsm.getAccountInfo()
  } catch (error) {
    if (error instanceof Error && error.name === 'JetStreamNotEnabled')
      throw new ExitError(EXIT_CONFIG, 'JetStream is off on this NATS server: start nats-server with -js', {
        cause: error,
      })
    throw error
  }
}

async function create(
  jsm: JetStreamManager,
  limits: Pick<StreamConfig, 'max_bytes' | 'num_replicas'>,
  level: number,
): Promise<StreamInfo> {
  const atomic = level >= ATOMIC_LEVEL ? { allow_atomic: true } : {}
  const config = { name: EVENT_STREAM, ...RELIED_ON, subjects: [EVENT_STREAM_SUBJECT], ...limits, ...atomic }
  try {
    return await createStream(jsm, config)
  } catch (error) {
    throw noRoom(error, limits)
  }
}

async function readBack(jsm: JetStreamManager, limits: Partial<StreamConfig>): Promise<StreamInfo> {
  try {
    await jsm.streams.update(EVENT_STREAM, limits)
  } catch (error) {
    throw noRoom(error, limits)
  }
  const info = await jsm.streams.info(EVENT_STREAM)
  for (const [field, wanted] of Object.entries(limits))
    if (info.config[field as keyof StreamConfig] !== wanted)
      throw difference(EVENT_STREAM, field, info.config[field as keyof StreamConfig], wanted)
  return info
}

function noRoom(error: unknown, limits: Partial<StreamConfig>): unknown {
  if (!(error instanceof JetStreamApiError) || !NO_ROOM.has(error.code)) return error
  return new ExitError(
    EXIT_CONFIG,
    `NATS has no room for stream ${EVENT_STREAM} of ${limits.max_bytes} bytes: raise max_file_store and max_file (which counts every copy), or lower MAIL_STREAM_MAX_BYTES`,
    { cause: error },
  )
}

function refuseOther(config: StreamConfig): void {
  refuseDifference(config, RELIED_ON)
  for (const field of ABSENT)
    if (config[field] !== undefined && config[field] !== null)
      throw difference(EVENT_STREAM, field, config[field], 'none')
}
