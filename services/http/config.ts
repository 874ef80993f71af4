/** Configuration of the bridge, from the environment. Reads files that the environment names, nothing else. */
import { readFileSync } from 'node:fs'
import { type Env, readEnv } from '#shared/env.ts'
import type { JwtOptions } from '#shared/jwt.ts'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import type { NatsOptions } from '#shared/nats.ts'
import { inboxPrefix } from '#shared/subjects.ts'

export type HttpConfig = {
  nats: NatsOptions
  jwt: JwtOptions
  host: string
  port: number
  logLevel: string
}

/** @throws ExitError 78 naming every fault. */
export function readHttpConfig(source?: NodeJS.ProcessEnv): HttpConfig {
  const env = readEnv('http', ['BETTER_AUTH_JWKS_URL'], source)
  // readEnv has refused its absence.
  const jwksUrl = env.BETTER_AUTH_JWKS_URL ?? ''
  const origin = new URL(jwksUrl).origin
  return {
    nats: {
      url: env.NATS_URL,
      user: env.NATS_USER,
      password: env.NATS_PASSWORD?.reveal(),
      creds: readCreds(env),
      name: 'mail-sync-http',
      inboxPrefix: inboxPrefix(env.NATS_USER),
    },
    jwt: { jwksUrl, issuer: env.BETTER_AUTH_ISSUER ?? origin, audience: env.BETTER_AUTH_AUDIENCE ?? origin },
    host: env.HTTP_HOST,
    port: env.HTTP_PORT,
    logLevel: env.MAIL_LOG_LEVEL,
  }
}

function readCreds(env: Env): Uint8Array | undefined {
  if (env.NATS_CREDS === undefined) return undefined
  try {
    return readFileSync(env.NATS_CREDS)
  } catch (cause) {
    throw new ExitError(EXIT_CONFIG, `NATS_CREDS: cannot read ${env.NATS_CREDS}`, { cause })
  }
}
