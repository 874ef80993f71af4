/**
 * A real Better Auth server in this process: e-mail sign-up, session tokens, JWTs, JWKS. The issuer of test users.
 * Memory only, loopback only; refuses to imitate any of it.
 */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { betterAuth } from 'better-auth'
import { memoryAdapter } from 'better-auth/adapters/memory'
import { toNodeHandler } from 'better-auth/node'
import { bearer, jwt } from 'better-auth/plugins'

export type SignedUp = {
  /** `sub` of the user's JWTs. */
  userId: string
  /** The opaque session token (no JWT), as `session.token` of the Better Auth client. */
  sessionToken: string
  /** A fresh JWT from /api/auth/token. */
  jwt(): Promise<string>
}

export type BetterAuthServer = {
  /** Origin; also `iss` and `aud` of its JWTs. */
  url: string
  jwksUrl: string
  signUp(email: string): Promise<SignedUp>
  /** Ends the server; what was handed out stays valid, what must be fetched fails. Does nothing the second time. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Starts an issuer on a free port. `jwtLifetime`: as in `15m`, its default; `-10s` issues expired tokens. */
export async function startBetterAuth({ jwtLifetime = '15m' } = {}): Promise<BetterAuthServer> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = originOf(server)
  const auth = betterAuth({
    baseURL: url,
    secret: 'a secret for tests, longer than 32 characters',
    database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }),
    telemetry: { enabled: false },
    rateLimit: { enabled: false },
    logger: { level: 'error' },
    emailAndPassword: { enabled: true },
    plugins: [jwt({ jwt: { expirationTime: jwtLifetime } }), bearer()],
  })
  server.on('request', toNodeHandler(auth))

  const close = async (): Promise<void> => {
    if (!server.listening) return
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
  return {
    url,
    jwksUrl: `${url}/api/auth/jwks`,
    signUp: (email) => signUp(url, email),
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function signUp(url: string, email: string): Promise<SignedUp> {
  const answer = await fetchJson(`${url}/api/auth/sign-up/email`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin: url },
    body: JSON.stringify({ email, password: 'correct horse battery', name: email.split('@')[0] }),
  })
  const { token, user } = answer as { token: string; user: { id: string } }
  return {
    userId: user.id,
    sessionToken: token,
    async jwt() {
      const fresh = await fetchJson(`${url}/api/auth/token`, { headers: { authorization: `Bearer ${token}` } })
      return (fresh as { token: string }).token
    },
  }
}

async function fetchJson(url: string, init: RequestInit): Promise<unknown> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(10_000) })
  const body = await response.text()
  if (!response.ok) throw new Error(`Better Auth answered ${response.status} at ${url}: ${body}`)
  return JSON.parse(body)
}

function originOf(server: Server): string {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  return `http://127.0.0.1:${address.port}`
}
