/** The configuration of the mail service: the environment in typed groups. Checks that span two variables stand here. */
import { hostname } from 'node:os'
import { join } from 'node:path'
import { type Env, readEnv } from '#shared/env.ts'
import { natsLogin } from '#shared/nats-login.ts'
import type { Secret } from '#shared/secret.ts'

/** So much longer than usual may the time between two polls of a quiet mailbox become, unless that is configured. */
const QUIET_FACTOR = 8

export type OAuthClient = {
  clientId: string
  clientSecret: Secret | undefined
  tokenUrl: string
  revokeUrl: string | null
}

export type Config = ReturnType<typeof configOf>

/** Reads the environment. @throws ExitError 78 with one line per fault. */
export const readConfig = (source?: NodeJS.ProcessEnv): Config =>
  configOf(readEnv('mail', ['BETTER_AUTH_JWKS_URL'], source))

function configOf(env: Env) {
  const jwksUrl = env.BETTER_AUTH_JWKS_URL ?? ''
  const origin = new URL(jwksUrl).origin
  const client = (
    clientId: string | undefined,
    clientSecret: Secret | undefined,
    tokenUrl: string,
    revokeUrl: string | null,
  ): OAuthClient | null => (clientId === undefined ? null : { clientId, clientSecret, tokenUrl, revokeUrl })
  return {
    nats: natsLogin(env),
    jwt: { jwksUrl, issuer: env.BETTER_AUTH_ISSUER ?? origin, audience: env.BETTER_AUTH_AUDIENCE ?? origin },
    clients: {
      google: client(
        env.GOOGLE_CLIENT_ID,
        env.GOOGLE_CLIENT_SECRET,
        env.MAIL_GOOGLE_TOKEN_URL,
        env.MAIL_GOOGLE_REVOKE_URL,
      ),
      microsoft: client(env.MICROSOFT_CLIENT_ID, env.MICROSOFT_CLIENT_SECRET, env.MAIL_MICROSOFT_TOKEN_URL, null),
    },
    missingClients: missingClients(env),
    dataDir: env.MAIL_DATA_DIR,
    authDbPath: env.AUTH_DB_PATH ?? join(env.MAIL_DATA_DIR, 'auth.db'),
    /** Stable name of the instance; without one: host name and id of the data folder. */
    instanceName: (directoryId: string): string => env.MAIL_INSTANCE_NAME ?? `${hostname()}-${directoryId.slice(0, 8)}`,
    pace: {
      intervalMs: env.MAIL_SYNC_INTERVAL_MS,
      intervalMaxMs: env.MAIL_SYNC_INTERVAL_MAX_MS ?? QUIET_FACTOR * env.MAIL_SYNC_INTERVAL_MS,
    },
    silenceMs: env.MAIL_LEASE_SILENCE_MS,
    stream: {
      retentionDays: env.MAIL_EVENT_RETENTION_DAYS,
      dedupeWindowMs: env.MAIL_DEDUPE_WINDOW_MS,
      maxBytes: env.MAIL_STREAM_MAX_BYTES,
      replicas: Number(env.MAIL_NATS_REPLICAS),
    },
    outbox: {
      keepMs: env.MAIL_OUTBOX_KEEP_MS,
      onNewStream: env.MAIL_ON_NEW_STREAM,
      retentionDays: env.MAIL_EVENT_RETENTION_DAYS,
    },
    trustOpenNats: env.MAIL_TRUST_OPEN_NATS,
    limits: {
      requestsPerMin: env.MAIL_USER_REQUESTS_PER_MIN,
      connectsPerMin: env.MAIL_USER_CONNECTS_PER_MIN,
      concurrent: env.MAIL_REQUESTS_CONCURRENT,
    },
    metrics: env.MAIL_METRICS_PORT === undefined ? null : { host: env.MAIL_METRICS_HOST, port: env.MAIL_METRICS_PORT },
    logLevel: env.MAIL_LOG_LEVEL,
    commit: env.MAIL_COMMIT,
    gmail: {
      baseUrl: env.MAIL_GMAIL_BASE_URL,
      unitsPerMin: env.MAIL_GMAIL_UNITS_PER_MIN,
      getUnits: env.MAIL_GMAIL_GET_UNITS,
      projectUnitsPerMin: env.MAIL_GMAIL_PROJECT_UNITS_PER_MIN,
    },
    graph: {
      baseUrl: env.MAIL_GRAPH_BASE_URL,
      requestsPer10Min: env.MAIL_GRAPH_REQUESTS_PER_10MIN,
      concurrency: env.MAIL_GRAPH_CONCURRENCY,
    },
    keys: {
      keys: env.MAIL_TOKEN_KEYS,
      keyFile: env.MAIL_TOKEN_KEY_FILE,
      keyCommand: env.MAIL_TOKEN_KEY_COMMAND,
      production: env.NODE_ENV === 'production',
    },
  }
}

/** What will refuse users later, said at start. A client without a secret may be a public one. */
function missingClients(env: Env): string[] {
  if (env.GOOGLE_CLIENT_ID === undefined && env.MICROSOFT_CLIENT_ID === undefined)
    return ['no provider is configured: set GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET, or those of Microsoft']
  return [
    env.GOOGLE_CLIENT_ID !== undefined && env.GOOGLE_CLIENT_SECRET === undefined
      ? 'GOOGLE_CLIENT_SECRET is not set: Google will refuse to refresh tokens'
      : '',
    env.MICROSOFT_CLIENT_ID !== undefined && env.MICROSOFT_CLIENT_SECRET === undefined
      ? 'MICROSOFT_CLIENT_SECRET is not set: right for a public client only'
      : '',
  ].filter((text) => text !== '')
}
