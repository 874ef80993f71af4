/**
 * Verifies the JWT of a user against the issuer's JWKS. The user is the token's `sub`, and nothing else of it is used.
 * It keeps no token: verified ones are remembered by their hash until they expire.
 */
import { hash } from 'node:crypto'
import type { JWTPayload, JWTVerifyGetKey } from 'jose'
import { AppError } from './errors.ts'
import { jose } from './jose.ts'
import { IssuerKeys, type TokenClock } from './jwks.ts'
import { lru } from './lru.ts'

const ALGORITHMS = ['EdDSA', 'ES256', 'RS256', 'PS256']
const TOLERANCE_S = 5
const TOKEN_MAX_BYTES = 8 * 1024
const VERIFIED_MAX = 10_000
const SHOWN_MAX_CHARS = 200

const systemClock: TokenClock = { wallMs: () => Date.now(), monoMs: () => performance.now() }

export type JwtOptions = { jwksUrl: string; issuer: string; audience: string; clock?: TokenClock }
/** `expiresAt` in epoch seconds. */
export type VerifiedUser = { userId: string; expiresAt: number }
export type JwtVerifier = {
  /**
   * Takes the value of an Authorization header. The signal ends only this wait.
   * @throws AppError TOKEN_MISSING, TOKEN_NOT_A_JWT, TOKEN_EXPIRED (details.expired_s_ago),
   * TOKEN_INVALID (details.reason: signature | issuer | audience | algorithm | claim), ISSUER_UNREACHABLE (details.url).
   */
  verify(authorization: string | undefined, signal?: AbortSignal): Promise<VerifiedUser>
}
type Jose = Awaited<ReturnType<typeof jose>>
type Reason = 'signature' | 'issuer' | 'audience' | 'algorithm' | 'claim'

export function createJwtVerifier(options: JwtOptions): JwtVerifier {
  const clock = options.clock ?? systemClock
  const keys = new IssuerKeys(options.jwksUrl, clock)
  const verified = lru<VerifiedUser & { generation: number }>(VERIFIED_MAX)
  const expect = { issuer: options.issuer, audience: options.audience }

  return {
    async verify(authorization, signal) {
      const token = bearerToken(authorization)
      keys.refresh()
      const digest = hash('sha256', token, 'base64url')
      const seen = verified.get(digest)
      if (seen !== undefined && seen.generation === keys.generation) {
        refuseExpired(seen.expiresAt, clock)
        return { userId: seen.userId, expiresAt: seen.expiresAt }
      }
      refuseEarly(await jose(), token, expect, clock)
      const { generation, ...user } = await verifySignature(token, { keys, clock, ...expect }, signal)
      verified.set(digest, { ...user, generation })
      return user
    },
  }
}

function bearerToken(authorization: string | undefined): string {
  // No pattern with two open ends here: over NATS the value may be a megabyte of spaces.
  const token = /^bearer\s/i.test(authorization ?? '') ? (authorization ?? '').slice('bearer '.length).trim() : ''
  if (token === '') throw new AppError('TOKEN_MISSING')
  if (Buffer.byteLength(token) > TOKEN_MAX_BYTES)
    throw invalid('claim', { expected: `a token of at most ${TOKEN_MAX_BYTES} bytes` })
  return token
}

/**
 * Refuses what needs no key to be refused, so that foreign tokens cost no fetch and the user learns the real reason.
 * Everything it accepts is checked again, by jose, with the signature.
 */
function refuseEarly(
  { decodeJwt, decodeProtectedHeader }: Pick<Jose, 'decodeJwt' | 'decodeProtectedHeader'>,
  token: string,
  expect: { issuer: string; audience: string },
  clock: TokenClock,
): void {
  let alg: unknown
  let claims: JWTPayload
  try {
    // Five parts are an encrypted token, fewer than three an opaque one.
    if (!/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)) throw new AppError('TOKEN_NOT_A_JWT')
    alg = decodeProtectedHeader(token).alg
    claims = decodeJwt(token)
  } catch (cause) {
    throw new AppError('TOKEN_NOT_A_JWT', {}, { cause })
  }
  if (typeof alg !== 'string' || !ALGORITHMS.includes(alg))
    throw invalid('algorithm', { expected: ALGORITHMS, found: shown(alg) })
  if (claims.iss !== expect.issuer) throw invalid('issuer', { expected: expect.issuer, found: shown(claims.iss) })
  if (claims.aud !== expect.audience && !(Array.isArray(claims.aud) && claims.aud.includes(expect.audience)))
    throw invalid('audience', { expected: expect.audience, found: shown(claims.aud) })
  if (typeof claims.sub !== 'string' || claims.sub === '') throw invalid('claim', { claim: 'sub' })
  // JSON has numbers too large to be one: a token with such an exp would never end.
  if (typeof claims.exp !== 'number' || !Number.isFinite(claims.exp)) throw invalid('claim', { claim: 'exp' })
  if (!isCanonical(token.slice(token.lastIndexOf('.') + 1))) throw invalid('signature', {})
  refuseExpired(claims.exp, clock)
}

/** Of the texts that decode to the same signature only the one that the issuer wrote is taken. */
const isCanonical = (part: string): boolean => Buffer.from(part, 'base64url').toString('base64url') === part

function refuseExpired(expiresAt: number, clock: TokenClock): void {
  if (secondsSince(expiresAt, clock) >= TOLERANCE_S) throw expired(expiresAt, clock)
}

const secondsSince = (epochS: number, clock: TokenClock): number => Math.floor(clock.wallMs() / 1000) - epochS

const expired = (expiresAt: number, clock: TokenClock, cause?: unknown): AppError =>
  new AppError('TOKEN_EXPIRED', { expired_s_ago: Math.floor(secondsSince(expiresAt, clock)) }, { cause })

async function verifySignature(
  token: string,
  by: { keys: IssuerKeys; clock: TokenClock; issuer: string; audience: string },
  signal: AbortSignal | undefined,
): Promise<VerifiedUser & { generation: number }> {
  const { errors, jwtVerify } = await jose()
  let generation = 0
  const findKey: JWTVerifyGetKey = async (header) => {
    const key = await by.keys.find(header, signal)
    generation = by.keys.generation
    return key
  }
  try {
    const { payload } = await jwtVerify(token, findKey, {
      algorithms: ALGORITHMS,
      issuer: by.issuer,
      audience: by.audience,
      requiredClaims: ['sub', 'exp'],
      clockTolerance: TOLERANCE_S,
      currentDate: new Date(by.clock.wallMs()),
    })
    const { sub, exp } = payload
    if (typeof sub !== 'string' || sub === '' || exp === undefined) throw invalid('claim', { claim: 'sub' })
    // While its keys were fetched.
    refuseExpired(exp, by.clock)
    return { userId: sub, expiresAt: exp, generation }
  } catch (error) {
    signal?.throwIfAborted()
    throw refusal(errors, error, by.clock)
  }
}

/** jose's error as one of ours; its text and the claims it carries stay in the cause. */
function refusal(errors: Jose['errors'], error: unknown, clock: TokenClock): AppError {
  if (error instanceof AppError) return error
  if (error instanceof errors.JWTExpired) return expired(Number(error.payload.exp), clock, error)
  if (error instanceof errors.JWTClaimValidationFailed) return invalid('claim', { claim: error.claim }, error)
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported)
    return invalid('algorithm', {}, error)
  if (error instanceof errors.JWTInvalid || error instanceof errors.JWSInvalid) return invalid('claim', {}, error)
  if (error instanceof errors.JWKSNoMatchingKey)
    return invalid('signature', { key: 'not among the keys of the issuer: another secret or database?' }, error)
  return invalid('signature', {}, error)
}

const invalid = (reason: Reason, facts: Record<string, unknown>, cause?: unknown): AppError =>
  new AppError('TOKEN_INVALID', { reason, ...facts }, { cause })

/** A value of the sender's own token, short enough to be shown to the sender. */
function shown(value: unknown): string | null {
  if (value === undefined) return null
  return (typeof value === 'string' ? value : JSON.stringify(value)).slice(0, SHOWN_MAX_CHARS)
}
