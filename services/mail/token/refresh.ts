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
import { isLoopback } from '#shared/loopback.ts'
import { Secret } from '#shared/secret.ts'
import type { OAuthClient } from '../base/config.ts'
import { type Http, HttpError, type HttpOptions } from '../base/http.ts'
import type { ProviderName } from '../base/model.ts'
import { GrantError, type GrantErrorCode, grantErrorOf } from './grant-error.ts'

/** One OAuth client at one provider; a client without secret is public, one without revokeUrl cannot revoke. */
export type GrantClient = OAuthClient & {
  provider: ProviderName
  /** Made with GRANT_HTTP. */
  http: Http
}

export type Grant = {
  accessToken: Secret
  /** The new refresh token, when the provider replaced it. */
  refreshToken: Secret | null
  /** Life of the access token in seconds. */
  expiresInS: number
}

const DEADLINE_MS = 10_000
const MAX_ANSWER_BYTES = 64 * 1024
/** Options of `createHttp` for calls to OAuth servers. */
export const GRANT_HTTP: HttpOptions = { deadlineMs: DEADLINE_MS, maxBytes: MAX_ANSWER_BYTES }
const MAX_LIFE_S = 7 * 86_400
/** When the provider does not say; a shorter life shows as a 401, which refreshes once. */
const DEFAULT_LIFE_S = 3_600
const MAX_TOKEN_CHARS = 16 * 1024
const MAX_RETRY_AFTER_MS = 86_400_000
/** Where plain http may go: tests and the demo. */

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
  if (client.revokeUrl === null) return
  await post(client, 'revoke', signal, (as, auth, options) =>
    revocationRequest(as, { client_id: client.clientId }, auth, refreshToken.reveal(), options),
  )
}

type Operation = 'refresh' | 'revoke'
type SendOptions = { [customFetch]: Fetch; [allowInsecureRequests]: boolean; signal: AbortSignal }
type Fetch = (
  url: string,
  request: {
    method: string
    headers: Record<string, string>
    body: URLSearchParams
    signal?: AbortSignal | undefined
  },
) => Promise<Response>
type Send = (as: AuthorizationServer, auth: ClientAuth, options: SendOptions) => Promise<Response>

/** Sends one request; answers the text of a success. */
async function post(
  client: GrantClient,
  operation: Operation,
  signal: AbortSignal,
  send: Send,
): Promise<{ status: number; text: string }> {
  const { provider } = client
  const deadline = AbortSignal.timeout(DEADLINE_MS)
  const both = AbortSignal.any([signal, deadline])
  let response: Response
  let text: string
  try {
    response = await send(serverOf(client), authOf(client), {
      [customFetch]: (url, { method, headers, body }) =>
        client.http.fetch(new URL(url), { method, headers, body: body.toString(), signal: both }),
      [allowInsecureRequests]: isLoopback(new URL(client.tokenUrl).hostname),
      signal: both,
    })
    text = await response.text()
  } catch (error) {
    signal.throwIfAborted()
    // Without the cause: errors of a transport may quote what was sent.
    throw new GrantError('transient', provider, { operation, code: deadline.aborted ? 'timeout' : codeOf(error) })
  }
  const { status } = response
  if (status === 200) return { status, text }
  const failure = v.safeParse(json(Failure), text)
  const code = failure.success ? failure.output.error : null
  if (operation === 'revoke' && status === 400 && (code === 'invalid_token' || code === 'invalid_grant'))
    return { status, text }
  const retryAfterMs = retryAfter(response)
  throw grantErrorOf(provider, { operation, status, code, ...(retryAfterMs === null ? {} : { retryAfterMs }) })
}

const serverOf = ({ tokenUrl, revokeUrl }: GrantClient): AuthorizationServer => ({
  issuer: new URL(tokenUrl).origin,
  token_endpoint: tokenUrl,
  ...(revokeUrl === null ? {} : { revocation_endpoint: revokeUrl }),
})

const authOf = ({ clientSecret }: GrantClient): ClientAuth =>
  clientSecret === undefined ? None() : ClientSecretPost(clientSecret.reveal())

function codeOf(error: unknown): GrantErrorCode {
  if (!(error instanceof HttpError)) return 'network'
  if (error.code === 'DEADLINE') return 'timeout'
  return error.code === 'TOO_LARGE' || error.code === 'REDIRECT' ? 'bad_answer' : 'network'
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
