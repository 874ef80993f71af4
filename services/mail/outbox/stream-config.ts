/** What both streams of ours need at the start: found or made, and refused where they are not what is relied on. */
import {
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  type StreamConfig,
  type StreamInfo,
} from '@nats-io/jetstream'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import { replicated } from '../kv/replication.ts'

const STREAM_NAME_IN_USE = 10058

/** null when there is no such stream. */
export async function streamInfo(jsm: JetStreamManager, name: string): Promise<StreamInfo | null> {
  try {
    return await jsm.streams.info(name)
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound) return null
    throw error
  }
}

/** @throws ExitError 78 when there are too few servers for its replicas; what NATS throws */
export async function createStream(
  jsm: JetStreamManager,
  config: Parameters<JetStreamManager['streams']['add']>[0] & { name: string; num_replicas: number },
): Promise<StreamInfo> {
  try {
    await replicated(config.name, config.num_replicas, () => jsm.streams.add(config))
  } catch (error) {
    // Another instance was quicker; what it made is compared like any other.
    if (!(error instanceof JetStreamApiError) || error.code !== STREAM_NAME_IN_USE) throw error
  }
  return await jsm.streams.info(config.name)
}

/** The server leaves fields out that are off or empty. @throws ExitError 78 naming field, found and wanted */
export function refuseDifference(config: StreamConfig, reliedOn: Partial<StreamConfig>): void {
  for (const [field, wanted] of Object.entries(reliedOn)) {
    const found = config[field as keyof StreamConfig] ?? false
    if (JSON.stringify(found) !== JSON.stringify(wanted)) throw difference(config.name, field, found, wanted)
  }
}

export const difference = (name: string, field: string, found: unknown, wanted: unknown): ExitError =>
  new ExitError(
    EXIT_CONFIG,
    `stream ${name}: ${field} is ${JSON.stringify(found)}, ${JSON.stringify(wanted)} is needed`,
  )
