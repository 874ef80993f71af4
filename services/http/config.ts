/** Configuration of the bridge, from the environment. Reads files that the environment names, nothing else. */
import { readEnv } from '#shared/env.ts'
import type { JwtOptions } from '#shared/jwt.ts'
import type { NatsOptions } from '#shared/nats.ts'
import { natsLogin } from '#shared/nats-login.ts'
import { inboxPrefix } from '#shared/subjects.ts'

export type HttpConfig = {
  nats: NatsOptions
  jwt: JwtOptions
  host: string
  port: number
  connectionsMax: number
  logLevel: string
}

/** @throws ExitError 78 naming every fault. */
export function readHttpConfig(source?: NodeJS.ProcessEnv): HttpConfig {
  const env = readEnv('http', ['BETTER_AUTH_JWKS_URL'], source)
  // readEnv has refused its absence.
  const jwksUrl = env.BETTER_AUTH_JWKS_URL ?? ''
  const origin = new URL(jwksUrl).origin
  return {
    nats: { ...natsLogin(env), name: 'mail-sync-http', inboxPrefix: inboxPrefix(env.NATS_USER) },
    jwt: { jwksUrl, issuer: env.BETTER_AUTH_ISSUER ?? origin, audience: env.BETTER_AUTH_AUDIENCE ?? origin },
    host: env.HTTP_HOST,
    port: env.HTTP_PORT,
    connectionsMax: env.HTTP_CONNECTIONS_MAX,
    logLevel: env.MAIL_LOG_LEVEL,
  }
}
