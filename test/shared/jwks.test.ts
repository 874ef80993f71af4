import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { AppError } from '#shared/errors.ts'
import { createJwtVerifier, type JwtVerifier } from '#shared/jwt.ts'
import { until } from '../support/until.ts'
import {
  createSigner,
  type IssuerMode,
  type MovedClock,
  movedClock,
  type Signer,
  startIssuer,
  type TestIssuer,
} from './issuer.ts'

type Fixture = AsyncDisposable & { issuer: TestIssuer; verifier: JwtVerifier; clock: MovedClock; signer: Signer }

async function fixture(): Promise<Fixture> {
  const signer = await createSigner('first')
  const issuer = await startIssuer([signer.jwk])
  const clock = movedClock()
  const verifier = createJwtVerifier({ jwksUrl: issuer.jwksUrl, issuer: issuer.url, audience: issuer.url, clock })
  return { issuer, verifier, clock, signer, [Symbol.asyncDispose]: () => issuer[Symbol.asyncDispose]() }
}

/** A fresh token; each call gives another one, so that no cache of verified tokens answers. */
let serial = 0
const bearer = async ({ issuer, clock }: Fixture, signer: Signer, header = {}): Promise<string> => {
  const exp = Math.floor(clock.wallMs() / 1000) + 900
  return `Bearer ${await signer.sign({ sub: 'ada', iss: issuer.url, aud: issuer.url, exp, jti: String(serial++) }, header)}`
}
const codeOf = (verified: Promise<unknown>): Promise<string> =>
  verified.then(
    () => 'accepted',
    (error: unknown) => (error instanceof AppError ? error.code : String(error)),
  )

test('known keys survive an outage of the issuer for ever, and the keys are reloaded when it is back', async () => {
  await using box = await fixture()
  const { issuer, verifier, clock, signer } = box
  assert.equal(await codeOf(verifier.verify(await bearer(box, signer))), 'accepted')
  issuer.mode = 'fails'
  for (let hour = 0; hour < 48; hour++) {
    clock.advance(3_600_000)
    assert.equal(await codeOf(verifier.verify(await bearer(box, signer))), 'accepted')
  }
  await until('a reload was tried in the background', () => issuer.fetches > 2)
  issuer.mode = 'up'
  const next = await createSigner('second')
  issuer.keys = [next.jwk]
  await until('the new keys are known', async () => {
    // The last failed reload may still be under way and close the gate for five seconds of this clock.
    clock.advance(6_000)
    return (await codeOf(verifier.verify(await bearer(box, next)))) === 'accepted'
  })
  assert.equal(await codeOf(verifier.verify(await bearer(box, signer))), 'TOKEN_INVALID', 'a removed key is refused')
})

test('a token that was verified is refused once its key is gone', async () => {
  await using box = await fixture()
  const { issuer, verifier, clock, signer } = box
  const token = await bearer(box, signer)
  assert.equal(await codeOf(verifier.verify(token)), 'accepted')
  issuer.keys = [(await createSigner('second')).jwk]
  clock.advance(601_000)
  await verifier.verify(token)
  await until('the reload has removed it', async () => (await codeOf(verifier.verify(token))) === 'TOKEN_INVALID')
})

test('a verified token costs no fetch and no signature again, and ends with its exp', async () => {
  await using box = await fixture()
  const { issuer, verifier, clock, signer } = box
  const token = await bearer(box, signer)
  await verifier.verify(token)
  issuer.mode = 'fails'
  assert.equal(await codeOf(verifier.verify(token)), 'accepted')
  clock.advance(904_000)
  assert.equal(await codeOf(verifier.verify(token)), 'accepted', 'five seconds are tolerated')
  clock.advance(2_000)
  const error = await verifier.verify(token).catch((thrown: unknown) => thrown)
  assert.ok(error instanceof AppError)
  assert.deepEqual([error.code, error.details], ['TOKEN_EXPIRED', { expired_s_ago: 6 }])
})

test('a key made after the first fetch is found at once', async () => {
  await using box = await fixture()
  const { issuer, verifier, signer } = box
  await verifier.verify(await bearer(box, signer))
  const second = await createSigner('second')
  issuer.keys.push(second.jwk)
  assert.equal(await codeOf(verifier.verify(await bearer(box, second))), 'accepted')
  assert.equal(issuer.fetches, 2)
})

test('a flood of unknown key ids costs two fetches in half a minute, a second apart: a key that is made meanwhile is found', async () => {
  await using box = await fixture()
  const { issuer, verifier, clock } = box
  const stranger = await createSigner('stranger')
  const flood = async (): Promise<string[]> => {
    const tokens = await Promise.all(Array.from({ length: 300 }, (_, i) => bearer(box, stranger, { kid: `k${i}` })))
    const codes = await Promise.all(tokens.map((token) => codeOf(verifier.verify(token))))
    for (const token of tokens.slice(0, 30)) codes.push(await codeOf(verifier.verify(token)))
    return codes
  }
  assert.deepEqual([...new Set(await flood())], ['TOKEN_INVALID'])
  assert.equal(issuer.fetches, 1)
  const next = await createSigner('next')
  issuer.keys.push(next.jwk)
  clock.advance(999)
  assert.equal(await codeOf(verifier.verify(await bearer(box, next))), 'TOKEN_INVALID')
  clock.advance(1)
  await flood()
  assert.equal(await codeOf(verifier.verify(await bearer(box, next))), 'accepted')
  assert.equal(issuer.fetches, 2)
  clock.advance(29_000)
  await flood()
  assert.equal(issuer.fetches, 2)
  clock.advance(1_000)
  await flood()
  assert.equal(issuer.fetches, 3)
})

test('who asks for an unknown key and goes away does not leave the gate open', async () => {
  await using box = await fixture()
  const { issuer, verifier, clock, signer } = box
  assert.equal(await codeOf(verifier.verify(await bearer(box, signer))), 'accepted')
  const stranger = await createSigner('stranger')
  const before = issuer.fetches
  for (let round = 0; round < 20; round++) {
    const gone = new AbortController()
    const asked = codeOf(verifier.verify(await bearer(box, stranger, { kid: `k${round}` }), gone.signal))
    await setImmediate()
    gone.abort(new Error('gone'))
    await asked
    // Nobody waits for the fetch, and it comes to its end all the same.
    await setTimeout(20)
    clock.advance(100)
  }
  assert.ok(issuer.fetches - before <= 2, `${issuer.fetches - before} fetches in two seconds`)
})

test('a flood of unknown key ids during an outage is one fetch in five seconds, and known keys go on', async () => {
  await using box = await fixture()
  const { issuer, verifier, clock, signer } = box
  await verifier.verify(await bearer(box, signer))
  issuer.mode = 'fails'
  const stranger = await createSigner('stranger')
  for (let i = 0; i < 100; i++)
    assert.equal(await codeOf(verifier.verify(await bearer(box, stranger, { kid: `k${i}` }))), 'ISSUER_UNREACHABLE')
  assert.equal(issuer.fetches, 2)
  assert.equal(await codeOf(verifier.verify(await bearer(box, signer))), 'accepted')
  clock.advance(5_001)
  assert.equal(await codeOf(verifier.verify(await bearer(box, stranger))), 'ISSUER_UNREACHABLE')
  assert.equal(issuer.fetches, 3)
})

for (const mode of ['fails', 'garbage', 'redirects', 'huge', 'hangs'] satisfies IssuerMode[])
  test(`an issuer that ${mode} at the start is ISSUER_UNREACHABLE with its address, and is asked again`, async () => {
    await using box = await fixture()
    const { issuer, verifier, clock, signer } = box
    issuer.mode = mode
    const errors = await Promise.all(
      [1, 2, 3].map(async () => verifier.verify(await bearer(box, signer)).catch((thrown: unknown) => thrown)),
    )
    for (const error of errors) {
      assert.ok(error instanceof AppError)
      // Nothing of what was answered.
      assert.deepEqual([error.code, error.details], ['ISSUER_UNREACHABLE', { url: issuer.jwksUrl, retry_after_s: 1 }])
    }
    assert.equal(issuer.fetches, 1)
    issuer.mode = 'up'
    clock.advance(1_001)
    assert.equal(await codeOf(verifier.verify(await bearer(box, signer))), 'accepted')
  })

test('an aborted wait ends at once with its reason and leaves the fetch to the others', async () => {
  await using box = await fixture()
  const { issuer, verifier, signer } = box
  issuer.mode = 'hangs'
  const stop = new AbortController()
  const [mine, other] = [await bearer(box, signer), await bearer(box, signer)]
  const left = verifier.verify(mine, stop.signal)
  const stays = codeOf(verifier.verify(other))
  await until('the fetch is under way', () => issuer.fetches === 1)
  stop.abort(new Error('gone'))
  await assert.rejects(left, /gone/)
  assert.equal(await stays, 'ISSUER_UNREACHABLE')
  assert.equal(issuer.fetches, 1)
})
