/**
 * How many servers of a cluster keep a stream. The configured number is the least: it is raised where it is lower, and
 * never lowered, because instances that are configured differently would undo each other's work.
 */
import { JetStreamApiError, type JetStreamManager } from '@nats-io/jetstream'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'

/** "replicas > 1 not supported in non-clustered mode", "no suitable peers for placement" */
const TOO_FEW_SERVERS = new Set([10074, 10005])

/**
 * Makes sure that the stream has at least `replicas` copies, and reads it back. The server makes them meanwhile.
 * @throws ExitError 78 when there are too few servers
 */
export async function ensureReplicas(jsm: JetStreamManager, stream: string, replicas: number): Promise<void> {
  if ((await jsm.streams.info(stream)).config.num_replicas >= replicas) return
  await replicated(stream, replicas, () => jsm.streams.update(stream, { num_replicas: replicas }))
  const { num_replicas: found } = (await jsm.streams.info(stream)).config
  if (found < replicas) throw tooFew(stream, replicas, `it keeps ${found}`)
}

/** Makes a stream of `replicas` copies by `make`. @throws ExitError 78 when there are too few servers */
export async function replicated<T>(stream: string, replicas: number, make: () => Promise<T>): Promise<T> {
  try {
    return await make()
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || !TOO_FEW_SERVERS.has(error.code)) throw error
    throw tooFew(stream, replicas, error.message, error)
  }
}

const tooFew = (stream: string, replicas: number, why: string, cause?: unknown): ExitError =>
  new ExitError(
    EXIT_CONFIG,
    `NATS cannot keep ${replicas} copies of ${stream} (${why}): MAIL_NATS_REPLICAS=${replicas} needs a cluster of ${replicas} servers with JetStream, all of them up when a stream is made`,
    { cause },
  )
