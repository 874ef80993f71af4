import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { exportSPKI, generateKeyPair, importJWK, jwtVerify } from 'jose'
import { OAuth2Server } from 'oauth2-mock-server'
import { AppError, type ErrorCode } from '#shared/errors.ts'
import { createJwtVerifier, type JwtVerifier } from '#shared/jwt.ts'
import { startBetterAuth } from '../support/better-auth.ts'
import { createSigner, type Signer, startIssuer, type TestIssuer } from './issuer.ts'

const nowS = (): number => Math.floor(Date.now() / 1000)

async function refusal(verifier: JwtVerifier, authorization: string | undefined): Promise<AppError> {
  const outcome = await verifier.verify(authorization).catch((error: unknown) => error)
  assert.ok(outcome instanceof AppError, `accepted or not ours: ${JSON.stringify(outcome)} ${String(outcome)}`)
  return outcome
}

test('a JWT of Better Auth is accepted: the user is its subject, the end of its life its exp', async () => {
  await using auth = await startBetterAuth()
  const verifier = createJwtVerifier({ jwksUrl: auth.jwksUrl, issuer: auth.url, audience: auth.url })
  const ada = await auth.signUp('ada@example.com')
  const token = await ada.jwt()
  const user = await verifier.verify(`Bearer ${token}`)
  assert.equal(user.userId, ada.userId)
  assert.ok(user.expiresAt > nowS() + 800 && user.expiresAt <= nowS() + 900)
  assert.deepEqual(await verifier.verify(`bearer  ${token} `), user, 'scheme in any case, spaces around')
})

test('the session token of Better Auth is answered with the hint at /api/auth/token', async () => {
  await using auth = await startBetterAuth()
  const verifier = createJwtVerifier({ jwksUrl: auth.jwksUrl, issuer: auth.url, audience: auth.url })
  const { sessionToken } = await auth.signUp('ada@example.com')
  assert.equal((await refusal(verifier, `Bearer ${sessionToken}`)).code, 'TOKEN_NOT_A_JWT')
})

test('an expired JWT of Better Auth is refused with how long ago it expired', async () => {
  await using auth = await startBetterAuth({ jwtLifetime: '-10s' })
  const verifier = createJwtVerifier({ jwksUrl: auth.jwksUrl, issuer: auth.url, audience: auth.url })
  const error = await refusal(verifier, `Bearer ${await (await auth.signUp('ada@example.com')).jwt()}`)
  assert.equal(error.code, 'TOKEN_EXPIRED')
  assert.ok(Number(error.details.expired_s_ago) >= 10 && Number(error.details.expired_s_ago) < 60)
})

test('tokens of a third-party issuer are accepted by each allowed algorithm and by no other', async (t) => {
  const server = new OAuth2Server()
  const algorithms = ['EdDSA', 'ES256', 'RS256', 'PS256', 'ES384', 'RS512']
  const kids = new Map<string, string>()
  for (const alg of algorithms) kids.set(alg, (await server.issuer.keys.generate(alg)).kid)
  await server.start(0, '127.0.0.1')
  t.after(() => server.stop())
  const issuer = server.issuer.url ?? ''
  const verifier = createJwtVerifier({ jwksUrl: `${issuer}/jwks`, issuer, audience: 'mail' })
  for (const alg of algorithms) {
    const token = await server.issuer.buildToken({
      kid: kids.get(alg),
      scopesOrTransform: (_header, payload) => Object.assign(payload, { sub: `user-${alg}`, aud: ['web', 'mail'] }),
    })
    if (['ES384', 'RS512'].includes(alg)) {
      const { code, details } = await refusal(verifier, `Bearer ${token}`)
      assert.deepEqual([code, details.reason, details.found], ['TOKEN_INVALID', 'algorithm', alg])
    } else assert.equal((await verifier.verify(`Bearer ${token}`)).userId, `user-${alg}`)
  }
})

type Hostile = [name: string, authorization: string | undefined, code: ErrorCode, reason?: string]

test('hostile tokens are refused, each with its code and reason', async (t) => {
  const [good, rsa, foreign] = await Promise.all([
    createSigner('good'),
    createSigner('rsa', 'RS256'),
    createSigner('good'),
  ])
  const symmetric = { kty: 'oct', kid: 'sym', alg: 'HS256', k: Buffer.from('shared secret').toString('base64url') }
  await using issuer = await startIssuer([good.jwk, rsa.jwk, symmetric])
  const verifier = createJwtVerifier({ jwksUrl: issuer.jwksUrl, issuer: issuer.url, audience: issuer.url })
  const claims = { sub: 'ada', iss: issuer.url, aud: issuer.url, exp: nowS() + 600 }
  const fine = await good.sign(claims)
  assert.equal((await verifier.verify(`Bearer ${fine}`)).userId, 'ada', 'the control: a good token is accepted')

  const cases: Hostile[] = [
    ...formCases(fine),
    ...(await claimCases(good, claims)),
    ...(await signatureCases({ good, rsa, foreign }, claims, fine)),
  ]
  assert.ok(cases.length >= 40, `${cases.length} hostile tokens`)
  for (const [name, authorization, code, reason] of cases)
    await t.test(name, async () => {
      const error = await refusal(verifier, authorization)
      assert.deepEqual([error.code, error.details.reason], [code, reason])
      assert.ok(JSON.stringify(error.details).length < 600, 'what is shown is bounded')
    })
  assert.equal((await verifier.verify(`Bearer ${fine}`)).userId, 'ada', 'the good one still is')
})

function formCases(fine: string): Hostile[] {
  const [header = '', payload = '', signature = ''] = fine.split('.')
  return [
    ['no header', undefined, 'TOKEN_MISSING'],
    ['an empty header', '', 'TOKEN_MISSING'],
    ['a scheme without token', 'Bearer', 'TOKEN_MISSING'],
    ['a scheme and spaces', 'Bearer    ', 'TOKEN_MISSING'],
    ['another scheme', `Basic ${fine}`, 'TOKEN_MISSING'],
    ['no scheme', fine, 'TOKEN_MISSING'],
    ['no space', `Bearer${fine}`, 'TOKEN_MISSING'],
    ['an opaque token', 'Bearer p9VhM2cXoTt6zWq0YJ7bKdLfRgAeNuSi', 'TOKEN_NOT_A_JWT'],
    ['a signed session cookie', 'Bearer p9VhM2cXoTt6.zWq0YJ7bKdLf', 'TOKEN_NOT_A_JWT'],
    ['an encrypted token', 'Bearer eyJhbGciOiJkaXIifQ..iv.text.tag', 'TOKEN_NOT_A_JWT'],
    ['dots only', 'Bearer ..', 'TOKEN_NOT_A_JWT'],
    ['garbage in three parts', 'Bearer a.b.c', 'TOKEN_NOT_A_JWT'],
    ['two tokens', `Bearer ${fine} ${fine}`, 'TOKEN_NOT_A_JWT'],
    ['a list of tokens', `Bearer ${fine},${fine}`, 'TOKEN_NOT_A_JWT'],
    ['padded base64', `Bearer ${header}=.${payload}.${signature}`, 'TOKEN_NOT_A_JWT'],
    ['a payload that is no object', `Bearer ${header}.${encode([1])}.${signature}`, 'TOKEN_NOT_A_JWT'],
    ['more than 8 KiB', `Bearer ${fine}${'A'.repeat(9000)}`, 'TOKEN_INVALID', 'claim'],
    ['a megabyte of spaces', `Bearer a${' '.repeat(1024 ** 2)}b`, 'TOKEN_INVALID', 'claim'],
  ]
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

async function claimCases(good: Signer, claims: Record<string, unknown>): Promise<Hostile[]> {
  const bearer = async (change: Record<string, unknown>): Promise<string> =>
    `Bearer ${await good.sign({ ...claims, ...change })}`
  return [
    ['expired', await bearer({ exp: nowS() - 30 }), 'TOKEN_EXPIRED'],
    ['expired beyond the tolerance', await bearer({ exp: nowS() - 6 }), 'TOKEN_EXPIRED'],
    ['expired in 1970', await bearer({ exp: 0 }), 'TOKEN_EXPIRED'],
    ['without exp', await bearer({ exp: undefined }), 'TOKEN_INVALID', 'claim'],
    ['exp as text', await bearer({ exp: String(nowS() + 600) }), 'TOKEN_INVALID', 'claim'],
    ['exp null', await bearer({ exp: null }), 'TOKEN_INVALID', 'claim'],
    ['not yet valid', await bearer({ nbf: nowS() + 600 }), 'TOKEN_INVALID', 'claim'],
    ['nbf as text', await bearer({ nbf: 'now' }), 'TOKEN_INVALID', 'claim'],
    ['without sub', await bearer({ sub: undefined }), 'TOKEN_INVALID', 'claim'],
    ['an empty sub', await bearer({ sub: '' }), 'TOKEN_INVALID', 'claim'],
    ['a number as sub', await bearer({ sub: 7 }), 'TOKEN_INVALID', 'claim'],
    ['a list as sub', await bearer({ sub: ['ada'] }), 'TOKEN_INVALID', 'claim'],
    ['another issuer', await bearer({ iss: 'https://evil.example' }), 'TOKEN_INVALID', 'issuer'],
    ['the issuer with a slash', await bearer({ iss: `${claims.iss}/` }), 'TOKEN_INVALID', 'issuer'],
    ['a list of issuers', await bearer({ iss: [claims.iss] }), 'TOKEN_INVALID', 'issuer'],
    ['without issuer', await bearer({ iss: undefined }), 'TOKEN_INVALID', 'issuer'],
    ['another audience', await bearer({ aud: 'https://evil.example' }), 'TOKEN_INVALID', 'audience'],
    ['a long audience', await bearer({ aud: 'x'.repeat(3000) }), 'TOKEN_INVALID', 'audience'],
    ['no audience in the list', await bearer({ aud: ['a', 'b'] }), 'TOKEN_INVALID', 'audience'],
    ['without audience', await bearer({ aud: undefined }), 'TOKEN_INVALID', 'audience'],
  ]
}

async function signatureCases(
  by: { good: Signer; rsa: Signer; foreign: Signer },
  claims: Record<string, unknown>,
  fine: string,
): Promise<Hostile[]> {
  const [header = '', payload = '', signature = ''] = fine.split('.')
  const publicKey = await importJWK(by.rsa.jwk, 'RS256', { extractable: true })
  assert.ok('type' in publicKey)
  const pem = await exportSPKI(publicKey)
  const hs256 = (head: object, key: string): string => {
    const input = `${encode(head)}.${encode(claims)}`
    return `Bearer ${input}.${createHmac('sha256', key).update(input).digest('base64url')}`
  }
  const changed = `${signature.slice(0, 20)}${signature[20] === 'A' ? 'B' : 'A'}${signature.slice(21)}`
  const foreign = (head: object): Promise<string> => by.foreign.sign(claims, head).then((token) => `Bearer ${token}`)
  return [
    [
      'a changed payload',
      `Bearer ${header}.${encode({ ...claims, sub: 'eve' })}.${signature}`,
      'TOKEN_INVALID',
      'signature',
    ],
    ['a changed signature', `Bearer ${header}.${payload}.${changed}`, 'TOKEN_INVALID', 'signature'],
    ['no signature', `Bearer ${header}.${payload}.`, 'TOKEN_INVALID', 'signature'],
    ['a short signature', `Bearer ${header}.${payload}.AAAA`, 'TOKEN_INVALID', 'signature'],
    ['a known key id, another key', await foreign({}), 'TOKEN_INVALID', 'signature'],
    ['an unknown key id', await foreign({ kid: 'unknown' }), 'TOKEN_INVALID', 'signature'],
    ['a path as key id', await foreign({ kid: '../../etc/passwd' }), 'TOKEN_INVALID', 'signature'],
    ['an embedded key', await foreign({ kid: 'new', jwk: by.foreign.jwk }), 'TOKEN_INVALID', 'signature'],
    ['a key address', await foreign({ kid: 'new', jku: 'https://evil.example/jwks' }), 'TOKEN_INVALID', 'signature'],
    ['a key of another algorithm', await foreign({ kid: 'rsa' }), 'TOKEN_INVALID', 'signature'],
    ['alg none', `Bearer ${encode({ alg: 'none' })}.${encode(claims)}.`, 'TOKEN_INVALID', 'algorithm'],
    ['alg None', `Bearer ${encode({ alg: 'None', kid: 'good' })}.${encode(claims)}.`, 'TOKEN_INVALID', 'algorithm'],
    ['no alg', `Bearer ${encode({ kid: 'good' })}.${payload}.${signature}`, 'TOKEN_INVALID', 'algorithm'],
    [
      'alg a list',
      `Bearer ${encode({ alg: ['EdDSA'], kid: 'good' })}.${payload}.${signature}`,
      'TOKEN_INVALID',
      'algorithm',
    ],
    ['HS256 with the public key', hs256({ alg: 'HS256', kid: 'rsa' }, pem), 'TOKEN_INVALID', 'algorithm'],
    ['HS256 with a key of the set', hs256({ alg: 'HS256', kid: 'sym' }, 'shared secret'), 'TOKEN_INVALID', 'algorithm'],
    ['a critical header that we do not know', await critical(by.good, claims), 'TOKEN_INVALID', 'algorithm'],
  ]
}

/** jose signs no unknown critical header, so the header is put in front of an ordinary token. */
async function critical(good: Signer, claims: Record<string, unknown>): Promise<string> {
  const [, payload = '', signature = ''] = (await good.sign(claims)).split('.')
  return `Bearer ${encode({ alg: 'EdDSA', kid: 'good', crit: ['x'], x: 1 })}.${payload}.${signature}`
}

test('control: without options jose accepts a token of any issuer and audience, and one that never expires', async () => {
  const { publicKey, privateKey } = await generateKeyPair('EdDSA')
  const { SignJWT } = await import('jose')
  const endless = await new SignJWT({ sub: 'ada' }).setProtectedHeader({ alg: 'EdDSA' }).sign(privateKey)
  assert.equal((await jwtVerify(endless, publicKey)).payload.sub, 'ada')
})

test('a refused issuer or audience shows what was expected and what was found', async () => {
  const signer = await createSigner('a')
  await using issuer = await startIssuer([signer.jwk])
  const verifier = verifierOf(issuer)
  const claims = { sub: 'ada', iss: issuer.url, aud: issuer.url, exp: nowS() + 600 }
  const aud = await refusal(verifier, `Bearer ${await signer.sign({ ...claims, aud: ['web'] })}`)
  assert.deepEqual(aud.details, { reason: 'audience', expected: issuer.url, found: '["web"]' })
  const iss = await refusal(verifier, `Bearer ${await signer.sign({ ...claims, iss: 'https://other.example' })}`)
  assert.deepEqual(iss.details, { reason: 'issuer', expected: issuer.url, found: 'https://other.example' })
  assert.equal(issuer.fetches, 0, 'a foreign token costs no fetch')
})

const verifierOf = (issuer: TestIssuer): JwtVerifier =>
  createJwtVerifier({ jwksUrl: issuer.jwksUrl, issuer: issuer.url, audience: issuer.url })
