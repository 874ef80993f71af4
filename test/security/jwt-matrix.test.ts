/** Hostile tokens against the verifier, and a part of them against the whole system, over NATS and HTTP: none gets in. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'
import { AppError, ERRORS, type ErrorBody, type ErrorCode } from '#shared/errors.ts'
import { createJwtVerifier, type JwtVerifier } from '#shared/jwt.ts'
import { headers } from '#shared/nats.ts'
import { HEADER_AUTHORIZATION, requestSubject } from '#shared/subjects.ts'
import { type MovedClock, movedClock, startIssuer, type TestIssuer } from '../shared/issuer.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { until } from '../support/until.ts'
import { amount } from './amount.ts'
import { startBridge } from './bridge.ts'
import { claimTokens, criticalTokens, unfitKeys } from './hostile-claims.ts'
import {
  type Attack,
  algorithmTokens,
  type Claims,
  type HostileToken,
  keyTokens,
  malformedTokens,
  signatureTokens,
} from './hostile-tokens.ts'
import { type ForgeKey, forgeKey, signed } from './token-forge.ts'

const SECRET = 'a secret that stands in the key set by mistake'
/** So often comes a token. */
const STEP_S = amount(5, 1, 1)
const REFUSALS = new Set(['TOKEN_MISSING', 'TOKEN_NOT_A_JWT', 'TOKEN_INVALID', 'TOKEN_EXPIRED'])

const ofEach = (): Attack['honest'] => ({
  EdDSA: forgeKey('EdDSA', 'EdDSA'),
  ES256: forgeKey('ES256', 'ES256'),
  RS256: forgeKey('RS256', 'RS256'),
  PS256: forgeKey('PS256', 'PS256'),
})

type Siege = AsyncDisposable & { issuer: TestIssuer; attack: Attack; clock: MovedClock; tokens: HostileToken[] }

/** An issuer with good keys and unfit ones, and everything that is to be refused. */
async function siege(): Promise<Siege> {
  const [honest, thief] = [ofEach(), ofEach()]
  const issuer = await startIssuer()
  const clock = movedClock()
  const claims = { sub: 'ada', iss: issuer.url, aud: issuer.url, exp: nowS(clock) + 600 }
  const attack = { honest, thief, secret: SECRET, claims }
  const unfit = unfitKeys(attack)
  const symmetric = { kty: 'oct', kid: 'symmetric', k: Buffer.from(SECRET).toString('base64url') }
  issuer.keys = [...Object.values(honest).map(({ jwk }) => jwk), symmetric, ...unfit.keys]
  const lists = [malformedTokens, algorithmTokens, keyTokens, signatureTokens, claimTokens, criticalTokens]
  const tokens = [...lists.flatMap((list) => list(attack)), ...unfit.tokens]
  return { issuer, attack, clock, tokens, [Symbol.asyncDispose]: () => issuer[Symbol.asyncDispose]() }
}

const nowS = (clock: MovedClock): number => Math.floor(clock.wallMs() / 1000)
const verifierOf = ({ issuer, clock }: Pick<Siege, 'issuer' | 'clock'>): JwtVerifier =>
  createJwtVerifier({ jwksUrl: issuer.jwksUrl, issuer: issuer.url, audience: issuer.url, clock })
const accepted = async (verifier: JwtVerifier, token: string): Promise<string> =>
  (await verifier.verify(`Bearer ${token}`)).userId

/** The error of a token that is not accepted; null when it is. @throws what is no refusal */
async function refusalOf(verifier: JwtVerifier, authorization: string): Promise<AppError | null> {
  try {
    await verifier.verify(authorization)
    return null
  } catch (error) {
    if (error instanceof AppError && REFUSALS.has(error.code)) return error
    throw error
  }
}

test('of hundreds of hostile tokens none is accepted, and all of them cost two fetches of the keys', async (t) => {
  await using box = await siege()
  const verifier = verifierOf(box)
  for (const key of Object.values(box.attack.honest))
    assert.equal(await accepted(verifier, signed(key, box.attack.claims)), 'ada', `an honest token by ${key.alg}`)
  const counted = new Map<string, number>()
  for (const [name, authorization] of box.tokens) {
    const error = await refusalOf(verifier, authorization)
    assert.ok(error !== null, `accepted: ${name}`)
    assert.ok(JSON.stringify(error.details).length < 600, `${name}: what is shown is bounded`)
    counted.set(error.code, (counted.get(error.code) ?? 0) + 1)
  }
  assert.ok(box.tokens.length >= 200)
  const names = new Map(box.tokens.map(([name, authorization]) => [authorization, name]))
  assert.deepEqual(
    box.tokens.flatMap(([name, authorization]) => (names.get(authorization) === name ? [] : [name])),
    [],
    'all differ',
  )
  assert.ok(box.issuer.fetches <= 2, `${box.issuer.fetches} fetches`)
  for (const key of Object.values(box.attack.honest))
    assert.equal(await accepted(verifier, signed(key, { ...box.attack.claims, jti: 'after' })), 'ada')
  t.diagnostic(
    `${box.tokens.length} hostile tokens, 0 accepted: ${[...counted].map((each) => each.join(' ')).join(', ')}`,
  )
})

test('at the edges of its life a token is tolerated for five seconds and no longer, fresh or known', async () => {
  await using box = await siege()
  const { attack, clock } = box
  const verifier = verifierOf(box)
  const token = (claims: Partial<Claims> & { nbf?: number }): string =>
    signed(attack.honest.EdDSA, { ...attack.claims, ...claims })
  const now = nowS(clock)
  for (const [claims, outcome] of [
    [{ exp: now - 4 }, 'accepted'],
    [{ exp: now - 4.5 }, 'accepted'],
    [{ exp: now - 5 }, 'TOKEN_EXPIRED'],
    [{ exp: now - 6 }, 'TOKEN_EXPIRED'],
    [{ nbf: now + 5 }, 'accepted'],
    [{ nbf: now + 6 }, 'TOKEN_INVALID'],
    [{ exp: now + 1, nbf: now - 1 }, 'accepted'],
  ] as const) {
    const error = await refusalOf(verifier, `Bearer ${token(claims)}`)
    assert.equal(error?.code ?? 'accepted', outcome, JSON.stringify(claims))
  }
  const known = token({ exp: now + 60 })
  assert.equal(await accepted(verifier, known), 'ada')
  clock.advance(64_000)
  assert.equal(await accepted(verifier, known), 'ada')
  clock.advance(1_000)
  assert.deepEqual((await refusalOf(verifier, `Bearer ${known}`))?.details, { expired_s_ago: 5 })
})

test('an hour without the issuer refuses nobody whose key is known', async (t) => {
  await using box = await siege()
  const { attack, clock, issuer } = box
  const verifier = verifierOf(box)
  // Those that are quick to sign.
  const keys = [attack.honest.EdDSA, attack.honest.ES256]
  assert.equal(await accepted(verifier, signed(attack.honest.EdDSA, attack.claims)), 'ada')
  issuer.mode = 'fails'
  for (let second = 0; second < 3_600; second += STEP_S) {
    clock.advance(STEP_S * 1_000)
    const key = keys[second % keys.length] as ForgeKey
    const claims = { ...attack.claims, exp: nowS(clock) + 600, jti: String(second) }
    assert.equal(await accepted(verifier, signed(key, claims)), 'ada', `second ${second}`)
  }
  await until('it was asked in vain', () => issuer.fetches > 1)
  t.diagnostic(`${3_600 / STEP_S} tokens in an hour without issuer, 0 refused, ${issuer.fetches} fetches`)
})

test('a new key is seen within a second: after a reload, after another new key, while keys are fetched', async () => {
  await using box = await siege()
  const { attack, clock, issuer } = box
  const verifier = verifierOf(box)
  const rotate = (kid: string): string => {
    const key = forgeKey(kid, 'EdDSA')
    issuer.keys = [...issuer.keys, key.jwk]
    return signed(key, { ...attack.claims, exp: nowS(clock) + 600 })
  }
  const known = (): string => signed(attack.honest.EdDSA, { ...attack.claims, exp: nowS(clock) + 600 })
  await accepted(verifier, known())
  clock.advance(1_000)
  assert.equal(await accepted(verifier, rotate('first')), 'ada')
  clock.advance(1_000)
  assert.equal(await accepted(verifier, rotate('second')), 'ada', 'soon after another one')
  clock.advance(601_000)
  const before = issuer.fetches
  await accepted(verifier, known())
  await until('the keys were reloaded', () => issuer.fetches > before)
  clock.advance(1_000)
  assert.equal(await accepted(verifier, rotate('third')), 'ada', 'soon after a reload')
})

/** Tokens with key ids that nobody has, in five rounds of 400 at once; what came of each. */
async function flood({ attack }: Siege, verify: (token: string, i: number) => Promise<unknown>): Promise<unknown[]> {
  const outcomes: unknown[] = []
  for (let round = 0; round < 5; round++) {
    const tokens = Array.from({ length: 400 }, (_, i) =>
      signed(attack.thief.EdDSA, attack.claims, { alg: 'EdDSA', kid: `${round}-${i}` }),
    )
    outcomes.push(...(await Promise.all(tokens.map((token, i) => verify(token, i).catch((error) => error)))))
  }
  return outcomes
}

test('unknown key ids cost two fetches at most, however many come and in whatever order', async () => {
  await using box = await siege()
  const { attack, clock, issuer } = box
  const verifier = verifierOf(box)
  await accepted(verifier, signed(attack.honest.EdDSA, attack.claims))
  const before = issuer.fetches
  // Half of those who ask have a deadline of their own, so their waits end in another order.
  const verify = (token: string, i: number) =>
    verifier.verify(`Bearer ${token}`, i % 2 ? AbortSignal.timeout(30_000) : undefined)
  for (const error of await flood(box, verify)) assert.equal(error instanceof AppError && error.code, 'TOKEN_INVALID')
  assert.ok(issuer.fetches - before <= 2, `${issuer.fetches - before} fetches`)
  clock.advance(31_000)
  const key = forgeKey('real', 'EdDSA')
  issuer.keys = [...issuer.keys, key.jwk]
  assert.equal(await accepted(verifier, signed(key, attack.claims)), 'ada', 'half a minute later a new key is found')
})

test('control: keys that are fetched for each unknown key id are fetched in every round of such a flood', async () => {
  await using box = await siege()
  const { attack, issuer } = box
  const keys = createRemoteJWKSet(new URL(issuer.jwksUrl), { cooldownDuration: 0 })
  await jwtVerify(signed(attack.honest.EdDSA, attack.claims), keys)
  const before = issuer.fetches
  for (const error of await flood(box, (token) => jwtVerify(token, keys)))
    assert.ok(error instanceof errors.JWKSNoMatchingKey, String(error))
  assert.ok(issuer.fetches - before >= 5, `${issuer.fetches - before} fetches`)
})

test('a token that expires while the keys are fetched is told how long ago', async () => {
  await using box = await siege()
  const { attack, clock, issuer } = box
  const verifier = verifierOf(box)
  issuer.mode = 'waits'
  const waiting = refusalOf(
    verifier,
    `Bearer ${signed(attack.honest.EdDSA, { ...attack.claims, exp: nowS(clock) + 1 })}`,
  )
  await until('the keys are asked for', () => issuer.fetches === 1)
  clock.advance(11_000)
  issuer.answerWaiting()
  const error = await waiting
  assert.deepEqual([error?.code, error?.details], ['TOKEN_EXPIRED', { expired_s_ago: 10 }])
})

/** Hostile tokens by the code that the verifier gives them, those only that can be put into a header. */
async function wireSample(
  box: Siege,
  every: number,
): Promise<{ name: string; authorization: string; code: ErrorCode }[]> {
  const verifier = verifierOf(box)
  const sendable = box.tokens.filter(([, authorization]) => /^[\x20-\x7e]+$/.test(authorization))
  const sample = sendable.filter((_, i) => i % every === 0)
  return await Promise.all(
    sample.map(async ([name, authorization]) => {
      const error = await refusalOf(verifier, authorization)
      assert.ok(error !== null, name)
      return { name, authorization, code: error.code }
    }),
  )
}

async function systemOf(stack: AsyncDisposableStack, issuer: TestIssuer): Promise<{ box: Sandbox; url: string }> {
  const box = stack.use(await sandbox({ env: { BETTER_AUTH_JWKS_URL: issuer.jwksUrl } }))
  await box.start('a')
  return { box, url: (await startBridge(stack, box)).url }
}

test('over NATS and over HTTP the same tokens are refused with the same code, and an honest one is not', async (t: TestContext) => {
  await using stack = new AsyncDisposableStack()
  const walls = stack.use(await siege())
  const { box, url } = await systemOf(stack, walls.issuer)
  const nc = await box.connection('bridge')
  const overNats = async (authorization: string): Promise<unknown> => {
    const hdrs = headers()
    hdrs.set(HEADER_AUTHORIZATION, authorization)
    return (await nc.request(requestSubject('status'), '{}', { headers: hdrs, timeout: 10_000 })).json()
  }
  const overHttp = async (authorization: string): Promise<unknown> =>
    (await fetch(`${url}/mail/status`, { headers: { authorization }, signal: AbortSignal.timeout(10_000) })).json()

  const sample = await wireSample(walls, 4)
  assert.ok(sample.length >= 60)
  for (const ask of [overNats, overHttp]) {
    for (const { name, authorization, code } of sample) {
      const { error } = (await ask(authorization)) as ErrorBody
      assert.deepEqual([error?.code, error?.hint], [code, ERRORS[code].hint], `${ask.name}: ${name}`)
      if (code === 'TOKEN_EXPIRED') assert.ok(Number(error.details.expired_s_ago) > 0)
    }
    // A user id that fits no subject is the service's to refuse: the token itself is good.
    for (const sub of ['\ud800', 'x'.repeat(181)]) {
      const { error } = (await ask(
        `Bearer ${signed(walls.attack.honest.EdDSA, { ...walls.attack.claims, sub })}`,
      )) as ErrorBody
      assert.equal(error?.code, 'BAD_USER_ID')
    }
    const status = await ask(`Bearer ${signed(walls.attack.honest.ES256, walls.attack.claims)}`)
    assert.deepEqual(status, { user_id: 'ada', running_syncs: [], accounts: [] })
  }
  t.diagnostic(`${sample.length} hostile tokens over NATS and HTTP each, 0 accepted`)
})

test('an error says what to do: where a JWT comes from, and how long ago one expired', async () => {
  await using box = await siege()
  const verifier = verifierOf(box)
  const opaque = await refusalOf(verifier, 'Bearer p9VhM2cXoTt6zWq0YJ7bKdLfRgAeNuSi')
  assert.match(ERRORS[opaque?.code ?? 'INTERNAL'].hint, /JWT from \/api\/auth\/token/)
  const old = signed(box.attack.honest.EdDSA, { ...box.attack.claims, exp: nowS(box.clock) - 3_600 })
  const error = await refusalOf(verifier, `Bearer ${old}`)
  assert.deepEqual([error?.code, error?.details], ['TOKEN_EXPIRED', { expired_s_ago: 3_600 }])
  assert.match(ERRORS.TOKEN_EXPIRED.hint, /\/api\/auth\/token/)
})
