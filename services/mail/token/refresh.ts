/**
 * The two calls to an OAuth server: refresh a grant and revoke it. One request each, with a deadline and a bounded,
 * validated answer; it never retries, stores or logs, and nothing the server wrote gets into an error.
 */
import {
  type AuthorizationServer,
  allowInsecureRequests,
  type ClientAuth,
  ClientSecretPost,
  customFetch,
  None,
  refreshTokenGrantRequest,
  revocationRequest,
} from 'oauth4webapi'
import * as v from 'valibot'
import { Secret } from '#shared/secret.ts'
import type { ProviderName } from '../base/model.ts'
import { GrantError, grantErrorOf } from './grant-error.ts'

/** What is needed of `fetch`; undici's and the platform's both fit. */
export type GrantFetch = (
  url: string,
  init: {
    method: 'POST'
    headers: Record<string, string>
    body: URLSearchParams
    redirect: 'manual'
    signal?: AbortSignal | undefined
  },
) => Promise<Response>

/** One OAuth client at one provider. */
export type GrantClient = {
  provider: ProviderName
  tokenUrl: string
  /** Google has one; Microsoft has none. */
  revokeUrl?: string
  clientId: string
  /** Absent for a public client. */
  clientSecret?: Secret
  fetch: GrantFetch
}

export type Grant = {
  accessToken: Secret
  /** The new refresh token, when the provider replaced it. */
  refreshToken: Secret | null
  /** Life of the access token in seconds. */
  expiresInS: number
}

export const GRANT_DEADLINE_MS = 10_000
const MAX_ANSWER_BYTES = 64 * 1024
const MAX_LIFE_S = 7 * 86_400
/** When the provider does not say; a shorter life shows as a 401, which refreshes once. */
const DEFAULT_LIFE_S = 3_600
const MAX_TOKEN_CHARS = 16 * 1024
const MAX_RETRY_AFTER_MS = 86_400_000
/** Where plain http may go: tests and the demo. */
const LOOPBACK = new Set(['127.0.0.1', 'localhost', '[::1]'])

const token = v.pipe(v.string(), v.regex(/^[\x21-\x7e]+$/), v.maxLength(MAX_TOKEN_CHARS))
/** Some servers write the number as text. */
const lifeS = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,9}$/))]),
  v.transform(Number),
  v.minValue(1),
)
const Success = v.object({
  access_token: token,
  refresh_token: v.nullish(token),
  expires_in: v.optional(lifeS, DEFAULT_LIFE_S),
  token_type: v.optional(v.pipe(v.string(), v.toLowerCase(), v.literal('bearer'))),
})
const Failure = v.object({ error: v.string() })
const json = <S extends v.GenericSchema>(schema: S) => v.pipe(v.string(), v.parseJson(), schema)

/**
 * Exchanges a refresh token for an access token (RFC 6749 §6).
 * @throws GrantError, or the signal's reason when the caller gave up.
 */
export async function refreshGrant(client: GrantClient, refreshToken: Secret, signal: AbortSignal): Promise<Grant> {
  const { status, text } = await post(client, 'refresh', signal, (as, auth, options) =>
    refreshTokenGrantRequest(as, { client_id: client.clientId }, auth, refreshToken.reveal(), options),
  )
  const parsed = v.safeParse(json(Success), text)
  if (!parsed.success)
    throw new GrantError('transient', client.provider, { operation: 'refresh', code: 'bad_answer', status })
  const { access_token, refresh_token, expires_in } = parsed.output
  return {
    accessToken: new Secret(access_token),
    refreshToken: refresh_token == null ? null : new Secret(refresh_token),
    expiresInS: Math.min(Math.floor(expires_in), MAX_LIFE_S),
  }
}

/**
 * Revokes a grant by its refresh token (RFC 7009). A token that is not valid any more counts as revoked.
 * @throws GrantError, or the signal's reason when the caller gave up.
 */
export async function revokeGrant(client: GrantClient, refreshToken: Secret, signal: AbortSignal): Promise<void> {
  if (client.revokeUrl === undefined) return
  await post(client, 'revoke', signal, (as, auth, options) =>
    revocationRequest(as, { client_id: client.clientId }, auth, refreshToken.reveal(), options),
  )
}

type Operation = 'refresh' | 'revoke'
type Send = (as: AuthorizationServer, auth: ClientAuth, options: SendOptions) => Promise<Response>
type SendOptions = { [customFetch]: GrantFetch; [allowInsecureRequests]: boolean; signal: AbortSignal }

/** Sends one request; answers the text of a success. */
async function post(
  client: GrantClient,
  operation: Operation,
  signal: AbortSignal,
  send: Send,
): Promise<{ status: number; text: string }> {
  signal.throwIfAborted()
  const deadline = AbortSignal.timeout(GRANT_DEADLINE_MS)
  const { provider } = client
  let response: Response
  let text: string | null
  try {
    const as: AuthorizationServer = {
      issuer: new URL(client.tokenUrl).origin,
      token_endpoint: client.tokenUrl,
      ...(client.revokeUrl === undefined ? {} : { revocation_endpoint: client.revokeUrl }),
    }
    const auth = client.clientSecret === undefined ? None() : ClientSecretPost(client.clientSecret.reveal())
    response = await send(as, auth, {
      [customFetch]: client.fetch,
      [allowInsecureRequests]: LOOPBACK.has(new URL(client.tokenUrl).hostname),
      signal: AbortSignal.any([signal, deadline]),
    })
    text = await boundedText(response)
  } catch {
    // The cause is dropped: errors of a transport may quote what was sent.
    signal.throwIfAborted()
    throw new GrantError('transient', provider, { operation, code: deadline.aborted ? 'timeout' : 'network' })
  }
  const { status } = response
  if (text === null) throw new GrantError('transient', provider, { operation, code: 'bad_answer', status })
  if (status === 200) return { status, text }
  const failure = v.safeParse(json(Failure), text)
  const code = failure.success ? failure.output.error : null
  if (operation === 'revoke' && status === 400 && (code === 'invalid_token' || code === 'invalid_grant'))
    return { status, text }
  const retryAfterMs = retryAfter(response)
  throw grantErrorOf(provider, { operation, status, code, ...(retryAfterMs === null ? {} : { retryAfterMs }) })
}

/** The body as text; null when it is larger than an answer can be. */
async function boundedText(response: Response): Promise<string | null> {
  if (response.body === null) return ''
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.byteLength
    // Leaving the loop cancels the body and frees its connection.
    if (bytes > MAX_ANSWER_BYTES) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The wait of a Retry-After header, a date taken relative to the answer's own Date; null when there is none. */
function retryAfter({ headers }: Response): number | null {
  const text = headers.get('retry-after')
  if (text === null) return null
  const ms = /^\d+$/.test(text)
    ? Number(text) * 1_000
    : Date.parse(text) - Date.parse(headers.get('date') ?? 'not a date')
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS) : null
}
