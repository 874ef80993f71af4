/**
 * NATS as the service needs it: connection, version, stream, buckets. Checked at start and again after each reconnect,
 * because the server that comes back may be another one, or an empty one.
 */
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import {
  connectNats,
  drainNats,
  followStatus,
  hasPermissions,
  type NatsConnection,
  refuseOldServer,
} from '#shared/nats.ts'
import { isHere } from '#shared/nats-login.ts'
import { inboxPrefix } from '#shared/subjects.ts'
import type { Config } from '../base/config.ts'
import type { Clock } from '../base/time.ts'
import { together } from '../base/together.ts'
import { Wake } from '../base/wake.ts'
import { knowsBatches } from '../kv/atomic-batch.ts'
import { Bucket } from '../kv/bucket.ts'
import { Buckets, type Noticed } from '../kv/buckets.ts'
import { openJetStream } from '../outbox/jetstream.ts'
import { type Batches, FEWEST_ROWS, ROWS } from '../outbox/publish-batch.ts'
import { Snapshots } from '../outbox/snapshots.ts'
import { ensureEventStream, refuseCapturedSubjects } from '../outbox/stream.ts'
import { eventAt, streamFacts, streamHolds } from '../outbox/stream-facts.ts'
import { ensureTrailStream } from '../outbox/trail-stream.ts'
import { Patience } from './patience.ts'
import { forbidden, PATIENCE_MS, patiently } from './patiently.ts'

/** The buckets and the stream are looked at this often even without a reconnect. */
const VERIFY_MS = 30_000
const RETRY_MS = 1_000

export type Broker = AsyncDisposable & {
  nc: NatsConnection
  js: Awaited<ReturnType<typeof openJetStream>>['js']
  jsm: Awaited<ReturnType<typeof openJetStream>>['jsm']
  /** Batches of events; whether they are taken was last looked up when the stream was. */
  batches: Batches
  buckets: Buckets
  snapshots: Snapshots
  streamFacts: ReturnType<typeof streamFacts>
  streamHolds: ReturnType<typeof streamHolds>
  eventAt: ReturnType<typeof eventAt>
  /** `mail.as.*` may be served: NATS permissions decide who may use it, or the operator trusts this loopback server. */
  trusted: boolean
  /** How long a stop may take until the connection is closed. */
  patience: Patience
  /**
   * Keeps looking until the signal aborts. `noticed` hears of each bucket that is not what it was,
   * `connected` of every reconnect after everything was found or made.
   */
  watch(on: { noticed: Noticed; connected(): void }, signal: AbortSignal): Promise<void>
}

export async function openBroker(
  config: Config,
  name: string,
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Promise<Broker> {
  const { url, user } = config.nats
  const nc = await connectNats(
    { ...config.nats, name: `mail-sync ${name}`, inboxPrefix: inboxPrefix(user) },
    log,
    signal,
  )
  const patience = new Patience(nc, clock, log, signal)
  const close = async (): Promise<void> => {
    await drainNats(nc, log)
    patience[Symbol.dispose]()
  }
  try {
    const { js, jsm } = await openJetStream(nc)
    const open = async () => {
      await refuseCapturedSubjects(jsm)
      const { replicas } = config.stream
      const [stream, , buckets, snapshots] = await together(
        ensureEventStream(jsm, config.stream),
        ensureTrailStream(jsm, replicas),
        Buckets.open((bucket) => Bucket.open(nc, bucket, replicas)),
        Snapshots.open(js, jsm, replicas),
      )
      return { stream, buckets, snapshots }
    }
    const { stream: found, buckets, snapshots } = await patiently(open, { url, clock, log, signal })
    let streamCreatedMs = found.createdMs
    let isAtomic = found.isAtomic
    const trusted = hasPermissions(nc) || (config.trustOpenNats && isHere(url))
    if (!trusted) log.warn('NATS has no users: mail.as.* is not served (MAIL_TRUST_OPEN_NATS=1 serves it on loopback)')
    return {
      nc,
      js,
      jsm,
      batches: { link: nc, areTaken: () => isAtomic && knowsBatches(nc), fewest: FEWEST_ROWS, most: ROWS },
      buckets,
      snapshots,
      streamFacts: streamFacts(jsm, clock),
      streamHolds: streamHolds(jsm),
      eventAt: eventAt(jsm),
      trusted,
      patience,
      async watch(on, stop) {
        const verify = async (): Promise<void> => {
          await refuseOldServer(nc, url)
          await refuseCapturedSubjects(jsm)
          const stream = await ensureEventStream(jsm, config.stream)
          isAtomic = stream.isAtomic
          await buckets.verify(on.noticed)
          // One that is gone took its snapshots with it: each user's is taken anew with the next checkpoint, within a day.
          await snapshots.verify(js, config.stream.replicas)
          // No mail waits for the audit trail.
          await ensureTrailStream(jsm, config.stream.replicas).catch((error) =>
            log.error({ err: error }, 'the audit trail takes no records'),
          )
          // Deleted and made anew without a reconnect: every user compares what stands there with what is stored.
          if (stream.createdMs !== streamCreatedMs) on.connected()
          streamCreatedMs = stream.createdMs
        }
        await watchBroker(nc, verify, on, clock, log, stop)
      },
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    await close()
    const refused = forbidden(error)
    if (refused === null) throw error
    throw new ExitError(
      EXIT_CONFIG,
      `NATS user ${user ?? '(none)'} may not ${refused}: an instance needs the permissions of the user mailsync in nats.conf`,
      { cause: error },
    )
  }
}

/** Looks at each reconnect, and from time to time without one, until the signal aborts. */
export async function watchBroker(
  nc: NatsConnection,
  verify: () => Promise<void>,
  on: { connected(): void },
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const bell = new Wake()
  let isBack = false
  let patienceEndsMs = Number.POSITIVE_INFINITY
  const connected = (): void => {
    isBack = true
    patienceEndsMs = clock.monoMs() + PATIENCE_MS
    bell.ring()
  }
  const following = followStatus(nc, log, { connected, disconnected: () => undefined })
  following.catch((error) => log.error({ err: error }, 'NATS status ended'))
  for (let waitMs = VERIFY_MS; !signal.aborted && !nc.isClosed(); ) {
    await bell.rest(waitMs, clock, signal)
    if (signal.aborted) return
    try {
      await verify()
      waitMs = VERIFY_MS
      patienceEndsMs = Number.POSITIVE_INFINITY
      if (isBack) on.connected()
      isBack = false
    } catch (error) {
      // A server that is just starting answers as one without JetStream does; a closed connection was too old.
      if (error instanceof ExitError && (nc.isClosed() || clock.monoMs() > patienceEndsMs)) throw error
      if (error instanceof ExitError && patienceEndsMs === Number.POSITIVE_INFINITY)
        patienceEndsMs = clock.monoMs() + PATIENCE_MS
      log.debug({ err: error }, 'NATS is not ready yet')
      waitMs = RETRY_MS
    }
  }
}
