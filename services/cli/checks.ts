/** The checks of mailctl doctor, one function each. They look and change nothing. */
import { type JetStreamManager, jetstreamManager, type StreamConfig } from '@nats-io/jetstream'
import type { Env } from '#shared/env.ts'
import {
  atLeast,
  hasPermissions,
  NATS_MIN_VERSION,
  type NatsConnection,
  PermissionViolationError,
} from '#shared/nats.ts'
import { pingInstances } from '#shared/service-view.ts'
import {
  ACCOUNTS_HISTORY,
  BUCKET_ACCOUNTS,
  BUCKET_LEASES,
  BUCKET_STATE,
  bucketStream,
  EVENT_STREAM,
  EVENT_STREAM_SUBJECT,
} from '#shared/subjects.ts'

export type Finding = {
  /** `note`: worth knowing, or not to be seen by this NATS user; it fails nothing. */
  state: 'ok' | 'failed' | 'note'
  text: string
  remedy?: string
}
const ok = (text: string): Finding => ({ state: 'ok', text })
const failed = (text: string, remedy: string): Finding => ({ state: 'failed', text, remedy })
const note = (text: string, remedy: string): Finding => ({ state: 'note', text, remedy })

const NODE_MIN_VERSION = '22.18.0'
const PING_WAIT_MS = 1_000
const JWKS_WAIT_MS = 2_000
/** Tokens are accepted five seconds around their times. */
const SKEW_MAX_S = 5
const DAY_NS = 86_400_000_000_000

export function checkNode(version = process.versions.node): Finding {
  if (atLeast(version, NODE_MIN_VERSION)) return ok(`Node ${version}`)
  return failed(`Node ${version} is too old`, `use Node ${NODE_MIN_VERSION} or newer; "make setup" brings one`)
}

export function checkVersion(nc: NatsConnection): Finding {
  const version = nc.info?.version ?? 'unknown'
  if (atLeast(version, NATS_MIN_VERSION)) return ok(`nats-server ${version}`)
  return failed(
    `nats-server ${version} is too old`,
    `use ${NATS_MIN_VERSION} or newer; scripts/nats-server.sh finds one`,
  )
}

export function checkJetStream(nc: NatsConnection): Finding {
  if (nc.info?.jetstream === true) return ok('JetStream is on')
  return failed('JetStream is off', 'start the server with nats.conf ("make nats"), or with -js')
}

export function checkPermissions(nc: NatsConnection): Finding {
  if (hasPermissions(nc)) return ok('NATS has users: permissions decide who may use mail.as.*')
  return note(
    'NATS is open: it has no users, so instances keep mail.as.* closed',
    'use nats.conf, or MAIL_TRUST_OPEN_NATS=1 on loopback',
  )
}

/** The settings that matter, as they must be read back. */
function expectedStreams(env: Env): { name: string; expected: Partial<StreamConfig> }[] {
  const bucket = (name: string, history: number) => ({
    name: bucketStream(name),
    expected: { storage: 'file', max_msgs_per_subject: history, max_age: 0 } as const,
  })
  return [
    {
      name: EVENT_STREAM,
      expected: {
        subjects: [EVENT_STREAM_SUBJECT],
        storage: 'file',
        retention: 'limits',
        discard: 'new',
        allow_direct: true,
        deny_delete: false,
        max_age: env.MAIL_EVENT_RETENTION_DAYS * DAY_NS,
        max_bytes: env.MAIL_STREAM_MAX_BYTES,
        duplicate_window: env.MAIL_DEDUPE_WINDOW_MS * 1_000_000,
      },
    },
    ...[bucket(BUCKET_ACCOUNTS, ACCOUNTS_HISTORY), bucket(BUCKET_LEASES, 1), bucket(BUCKET_STATE, 1)],
  ]
}

export async function checkStreams(nc: NatsConnection, env: Env): Promise<Finding[]> {
  const manager = await jetstreamManager(nc, { checkAPI: false, timeout: 2_000 })
  return await Promise.all(expectedStreams(env).map(({ name, expected }) => checkStream(manager, name, expected)))
}

async function checkStream(manager: JetStreamManager, name: string, expected: Partial<StreamConfig>): Promise<Finding> {
  try {
    const { config, state } = await manager.streams.info(name)
    const found: Record<string, unknown> = { ...config }
    const wrong = Object.entries(expected).filter(
      ([key, value]) => JSON.stringify(found[key]) !== JSON.stringify(value),
    )
    if (wrong.length === 0) return ok(`stream ${name}: ${state.messages} messages`)
    const text = wrong.map(([key, value]) => `${key} is ${JSON.stringify(found[key])}, not ${JSON.stringify(value)}`)
    return failed(
      `stream ${name}: ${text.join(', ')}`,
      'give this command the environment of the instances, or restart one',
    )
  } catch (error) {
    if (isPermission(error))
      return note(`stream ${name}: this NATS user may not look`, 'run doctor with NATS_USER=ops to check it')
    if (error instanceof Error && /not found/.test(error.message))
      return failed(`stream ${name} is missing`, 'an instance makes it at its start: "npm start"')
    const why = error instanceof Error ? error.message : 'unknown'
    return failed(`stream ${name} cannot be read: ${why}`, 'check JetStream of this server')
  }
}

const isPermission = (error: unknown): boolean =>
  error instanceof PermissionViolationError ||
  (error instanceof Error && error.cause instanceof PermissionViolationError)

export async function checkInstances(nc: NatsConnection): Promise<Finding> {
  try {
    const instances = await pingInstances(nc, PING_WAIT_MS)
    if (instances.length === 0) return failed('no instance answers', 'start one with "npm start"')
    const versions = [...new Set(instances.map((one) => one.version))].join(', ')
    return ok(`${instances.length} instance(s) answer, version ${versions}`)
  } catch (error) {
    if (!isPermission(error)) throw error
    return note('instances: this NATS user may not ask', 'run doctor with NATS_USER=service')
  }
}

export function checkClients(env: Env): Finding[] {
  return (['GOOGLE', 'MICROSOFT'] as const).map((name) => {
    const [id, secret] = [env[`${name}_CLIENT_ID`], env[`${name}_CLIENT_SECRET`]]
    if (id !== undefined && secret !== undefined) return ok(`${name}_CLIENT_ID and its secret are set here`)
    const missing = id === undefined ? `${name}_CLIENT_ID` : `${name}_CLIENT_SECRET`
    return note(`${missing} is not set here`, `set it on every instance that syncs ${name.toLowerCase()} mailboxes`)
  })
}

/** The issuer's keys, and its clock against ours. */
export async function checkIssuer(env: Env, signal: AbortSignal): Promise<Finding[]> {
  const url = env.BETTER_AUTH_JWKS_URL
  if (url === undefined) return [failed('BETTER_AUTH_JWKS_URL is not set', 'set it: instances and bridge need it')]
  try {
    const response = await fetch(url, {
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(JWKS_WAIT_MS)]),
    })
    const body: unknown = await response.json()
    const keys = typeof body === 'object' && body !== null && 'keys' in body ? body.keys : undefined
    const found = Array.isArray(keys)
      ? ok(`${url} has ${keys.length} key(s)`)
      : failed(`${url} is no key set`, 'BETTER_AUTH_JWKS_URL is usually …/api/auth/jwks')
    return [found, skew(response.headers.get('date'))]
  } catch {
    return [failed(`${url} cannot be reached`, 'check BETTER_AUTH_JWKS_URL and that the issuer runs')]
  }
}

function skew(date: string | null): Finding {
  const theirs = Date.parse(date ?? '')
  if (Number.isNaN(theirs)) return note('the issuer does not tell its time', 'compare the clocks yourself')
  // The header has whole seconds, so half of one is its own error.
  const difference = Math.abs(Date.now() - theirs - 500) / 1000
  if (difference <= SKEW_MAX_S) return ok(`clocks of issuer and this machine agree within ${SKEW_MAX_S} s`)
  return failed(`the issuer's clock differs by ${Math.round(difference)} s`, 'let both machines use NTP')
}
