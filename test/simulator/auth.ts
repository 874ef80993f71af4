/**
 * Owns tokens: who an access token belongs to, until when, and the token and revoke endpoints of both vendors.
 * Refuses to log or show tokens.
 */
import { googleUnauthenticated, graphUnauthenticated, oauthError } from './answers.ts'
import { hashText } from './random.ts'
import type { Answer, Clock, Credentials, Fault, ProviderName } from './types.ts'

export interface Grant {
  provider: ProviderName
  user: string
  address: string
  revoked: boolean
}

interface AuthOptions {
  clock: Clock
  seed: number
  /** Life of an access token in seconds. */
  tokenLifeS: number
  /** Google answers a new refresh token now and then (Microsoft: always). */
  googleRotation: 'never' | 'sometimes'
  /** The old refresh token dies as soon as it was replaced. */
  strictRotation: boolean
}

export type Auth = ReturnType<typeof createAuth>

const SCOPES: Record<ProviderName, string> = {
  google: 'https://www.googleapis.com/auth/gmail.readonly',
  microsoft: 'https://graph.microsoft.com/Mail.Read offline_access',
}

function tokenFault(provider: ProviderName, fault: Fault | undefined): Answer | null {
  switch (fault?.type) {
    case 'invalid_grant':
      return provider === 'google'
        ? oauthError(400, 'invalid_grant', 'Token has been expired or revoked.')
        : oauthError(400, 'invalid_grant', 'AADSTS700082: The refresh token has expired due to inactivity.', [700082])
    case 'invalid_client':
      return provider === 'google'
        ? oauthError(401, 'invalid_client', 'The OAuth client was not found.')
        : oauthError(401, 'invalid_client', 'AADSTS7000215: Invalid client secret provided.', [7000215])
    case 'token5xx':
      return oauthError(503, 'temporarily_unavailable', 'The service is temporarily unavailable.')
    default:
      return null
  }
}

/** Where tokens are kept; access tokens end by the simulator's clock. */
function createTokens({ clock, seed, tokenLifeS }: AuthOptions) {
  const access = new Map<string, { grant: Grant; expiresMs: number }>()
  const refresh = new Map<string, Grant>()
  let serial = 0
  const newToken = (prefix: string, grant: Grant): string => {
    serial++
    const text = `${grant.provider}:${grant.user}:${serial}`
    return `${prefix}${hashText(text, seed).toString(36)}-${hashText(text, 7).toString(36)}-${serial}`
  }
  return {
    access,
    refresh,
    serial: () => serial,
    newAccess: (grant: Grant): string => {
      const token = newToken(grant.provider === 'google' ? 'ya29.sim-' : 'EwB.sim-', grant)
      access.set(token, { grant, expiresMs: clock.now() + tokenLifeS * 1000 })
      return token
    },
    newRefresh: (grant: Grant): string => {
      const token = newToken(grant.provider === 'google' ? '1//sim-' : '0.A.sim-', grant)
      refresh.set(token, grant)
      return token
    },
  }
}

const bearer = (authorization: string | undefined) => /^Bearer (.+)$/i.exec(authorization ?? '')?.[1] ?? ''

export function createAuth(options: AuthOptions) {
  const { clock } = options
  const { access, refresh, serial, newAccess, newRefresh } = createTokens(options)

  const refreshed = (provider: ProviderName, form: URLSearchParams): Answer => {
    const old = form.get('refresh_token') ?? ''
    const grant = refresh.get(old)
    if (!grant || grant.revoked || grant.provider !== provider) {
      return tokenFault(provider, { type: 'invalid_grant' }) ?? oauthError(400, 'invalid_grant', '')
    }
    const rotate = provider === 'microsoft' || (options.googleRotation === 'sometimes' && serial() % 2 === 0)
    const body = {
      access_token: newAccess(grant),
      expires_in: options.tokenLifeS,
      scope: SCOPES[provider],
      token_type: 'Bearer',
      ...(provider === 'microsoft' && { ext_expires_in: options.tokenLifeS }),
      ...(rotate && { refresh_token: newRefresh(grant) }),
    }
    if (rotate && options.strictRotation) refresh.delete(old)
    return { status: 200, headers: { 'cache-control': 'no-store' }, body }
  }

  return {
    issue: (grant: Grant): Credentials => ({
      access_token: newAccess(grant),
      refresh_token: newRefresh(grant),
      expires_in: options.tokenLifeS,
      address: grant.address,
    }),

    /** Whose token it is, valid or not; null for unknown ones. */
    owner: (authorization: string | undefined): Grant | null => access.get(bearer(authorization))?.grant ?? null,

    /** null = may pass, otherwise the 401 of the provider. */
    refusal: (authorization: string | undefined, provider: ProviderName): Answer | null => {
      const hit = access.get(bearer(authorization))
      const good = hit && hit.grant.provider === provider && !hit.grant.revoked && hit.expiresMs > clock.now()
      if (good) return null
      return provider === 'google' ? googleUnauthenticated() : graphUnauthenticated()
    },

    /** Access tokens of this mailbox answer 401 until the next refresh. */
    killAccess: (provider: ProviderName, user: string): void => {
      for (const entry of access.values()) {
        if (entry.grant.provider === provider && entry.grant.user === user) entry.expiresMs = 0
      }
    },

    /** Owner of the refresh token in a token request, for rules that match a mailbox. */
    ownerOfRefresh: (form: URLSearchParams): Grant | null => refresh.get(form.get('refresh_token') ?? '') ?? null,

    token: (provider: ProviderName, form: URLSearchParams, fault: Fault | undefined): Answer => {
      const refused = tokenFault(provider, fault)
      if (refused) return refused
      if (!form.get('client_id')) return oauthError(400, 'invalid_request', 'Missing parameter: client_id')
      if (form.get('grant_type') !== 'refresh_token')
        return oauthError(400, 'unsupported_grant_type', 'Invalid grant_type')
      return refreshed(provider, form)
    },

    revoke: (token: string): Answer => {
      const grant = refresh.get(token) ?? access.get(token)?.grant
      if (!grant || grant.revoked) return oauthError(400, 'invalid_token', 'Token expired or revoked')
      grant.revoked = true
      return { status: 200, body: {} }
    },
  }
}
