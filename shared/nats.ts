/**
 * The connection to NATS: options, the wait at start, the version check, status to the log, drain with a deadline.
 * The only file that imports the package `nats`. It knows no stream, bucket or subject of ours.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  connect,
  credsAuthenticator,
  type NatsConnection,
  type NodeConnectionOptions,
  nkeyAuthenticator,
  PermissionViolationError,
} from 'nats'
import { EXIT_CONFIG, EXIT_UNAVAILABLE, ExitError } from './lifecycle.ts'
import type { Log } from './log.ts'
import { type NatsLogin, serversOf } from './nats-login.ts'
import { refuseTlsFault } from './nats-tls.ts'
import { Secret } from './secret.ts'

export type { Msg, NatsConnection } from 'nats'
export {
  createInbox,
  headers,
  NoRespondersError,
  nanos,
  PermissionViolationError,
  RequestError,
  TimeoutError,
} from 'nats'

export const NATS_MIN_VERSION = '2.10.0'
const START_WAIT_MS = 30_000
const DRAIN_DEADLINE_MS = 3_000

export type NatsOptions = NatsLogin & {
  /** Shown by `nats server report connections`. */
  name: string
  inboxPrefix: string
  /** How long to wait for the first connection. */
  waitMs?: number
}

type Login = Pick<NatsOptions, 'url' | 'user'>

/**
 * Connects, waiting up to `waitMs` for a server to be there.
 * @throws ExitError 69 when no server answers, 78 when it refuses us or is too old.
 */
export async function connectNats(options: NatsOptions, log: Log, signal: AbortSignal): Promise<NatsConnection> {
  const deadline = performance.now() + (options.waitMs ?? START_WAIT_MS)
  let told = false
  for (;;) {
    signal.throwIfAborted()
    try {
      const nc = await connectUnlessAborted(options, signal)
      await refuseOldServer(nc, options.url)
      return nc
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof ExitError) throw error
      if (isRefusal(error)) throw refused(options, error)
      await refuseTlsFault(options, error, signal)
      if (performance.now() > deadline)
        throw new ExitError(
          EXIT_UNAVAILABLE,
          `cannot reach NATS at ${options.url}: start one with "make nats" or set NATS_URL`,
          { cause: error },
        )
      if (!told) log.warn({ err: error, url: options.url }, 'NATS cannot be reached yet; waiting')
      told = true
      await sleep(500, undefined, { signal })
    }
  }
}

const refused = ({ url, user }: Login, cause: unknown): ExitError =>
  new ExitError(
    EXIT_CONFIG,
    `${url} refuses NATS user ${user ?? '(none)'}: check NATS_USER and NATS_PASSWORD, NATS_CREDS or NATS_NKEY_SEED`,
    { cause },
  )

/**
 * Resolves when the connection has ended: null when this process ended it, else what to end the process with. The client
 * connects again for ever, but for a server that turns it away twice in a row.
 */
export async function whyClosed(nc: NatsConnection, options: Login): Promise<ExitError | null> {
  const cause = await nc.closed()
  if (!(cause instanceof Error)) return null
  if (isRefusal(cause)) return refused(options, cause)
  return new ExitError(EXIT_UNAVAILABLE, `the connection to NATS at ${options.url} was given up`, { cause })
}

/** A server too busy to hear in time who asks says nothing about who may. */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof Error) || /authentication timeout/i.test(error.message)) return false
  return /authorization|authentication/i.test(`${error.name} ${error.message}`)
}

/** A server that accepts connections and never says a word keeps nobody waiting who was told to stop. */
async function connectUnlessAborted(options: NatsOptions, signal: AbortSignal): Promise<NatsConnection> {
  const connecting = connect(connectOptions(options))
  const unwanted = Promise.withResolvers<never>()
  const onAbort = (): void => unwanted.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([connecting, unwanted.promise])
  } catch (error) {
    // It may still succeed.
    if (signal.aborted) connecting.then((nc) => nc.close()).catch(() => undefined)
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

const plain = (value: Secret | string): string => (value instanceof Secret ? value.reveal() : value)

function connectOptions(options: NatsOptions): NodeConnectionOptions {
  return {
    servers: serversOf(options.url),
    name: options.name,
    inboxPrefix: options.inboxPrefix,
    maxReconnectAttempts: -1,
    // A stack taken at every request is the dearest part of it.
    noAsyncTraces: true,
    reconnectTimeWait: 500,
    reconnectJitter: 500,
    pingInterval: 5_000,
    maxPingOut: 2,
    timeout: 5_000,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    ...credentialsOf(options),
  }
}

/** With a key of its own the user is named by that key; NATS_USER then only names the inbox. */
function credentialsOf({ user, password, creds, seed }: NatsOptions): NodeConnectionOptions {
  if (seed !== undefined) return { authenticator: nkeyAuthenticator(new TextEncoder().encode(seed.reveal())) }
  return {
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { pass: plain(password) }),
    ...(creds === undefined ? {} : { authenticator: credsAuthenticator(creds) }),
  }
}

/**
 * @throws ExitError 78 when the server is older than 2.10; the connection is then closed.
 * @throws Error while there is no server to judge: the client forgets its version as soon as the link is lost.
 */
export async function refuseOldServer(nc: NatsConnection, url: string): Promise<void> {
  const version = nc.info?.version
  if (version === undefined) throw new Error(`not connected to ${url}`)
  if (atLeast(version, NATS_MIN_VERSION)) return
  await nc.close()
  throw new ExitError(
    EXIT_CONFIG,
    `nats-server ${version} at ${url} is too old: ${NATS_MIN_VERSION} or newer is needed (sync_interval)`,
  )
}

/** Compares dotted versions; what follows a hyphen does not count. */
export function atLeast(version: string, minimum: string): boolean {
  const parts = (text: string): number[] => (text.split('-')[0] ?? '').split('.').map(Number)
  const [have, want] = [parts(version), parts(minimum)]
  for (let i = 0; i < 3; i++) {
    const difference = (have[i] ?? 0) - (want[i] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return true
}

/** True when the server demands a login, so that subject permissions can mean something. */
export const hasPermissions = (nc: NatsConnection): boolean => nc.info?.auth_required === true

/** Copies connection events to the log and calls back at each change, until the connection closes. */
export async function followStatus(
  nc: NatsConnection,
  log: Log,
  on: { connected(): void; disconnected(): void },
): Promise<void> {
  for await (const status of nc.status()) {
    switch (status.type) {
      case 'reconnect':
        log.info({ server: status.server, version: nc.info?.version }, 'NATS connected again')
        on.connected()
        break
      case 'disconnect':
        log.warn({ server: status.server }, 'NATS connection lost')
        on.disconnected()
        break
      case 'error':
        log.error({ err: status.error, ...forbiddenOf(status.error) }, 'NATS refused an operation')
        break
      default:
        log.debug({ status: status.type }, 'NATS status')
    }
  }
}

/** What a permission is missing for. Names of ours, which the text of a foreign error is not. */
const forbiddenOf = (error: Error): { operation?: string; subject?: string } =>
  error instanceof PermissionViolationError ? { operation: error.operation, subject: error.subject } : {}

/** Drains the connection, or closes it at once when it is down or draining takes longer than three seconds. */
export async function drainNats(nc: NatsConnection, log: Log): Promise<void> {
  if (nc.isClosed()) return
  const deadline = new AbortController()
  try {
    // The client knows no version of a server while the link is down.
    if (nc.info !== undefined)
      await Promise.race([nc.drain(), nc.closed(), sleep(DRAIN_DEADLINE_MS, undefined, { signal: deadline.signal })])
  } catch (error) {
    log.warn({ err: error }, 'NATS connection could not be drained; closing it')
  } finally {
    deadline.abort()
    if (!nc.isClosed()) await nc.close()
  }
}

/** A fault of the link or of JetStream rather than of what was asked: the same request may work in a moment. */
export const isNatsFault = (error: unknown): boolean =>
  error instanceof Error &&
  /^(?:Timeout|Request|NoResponders|JetStream|ClosedConnection|DrainingConnection|Connection)/.test(error.name)
