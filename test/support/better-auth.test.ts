import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { startBetterAuth } from './better-auth.ts'

test('Better Auth issues JWTs that its JWKS verifies, with the user as subject and its origin as issuer', async () => {
  await using auth = await startBetterAuth()
  const ada = await auth.signUp('ada@example.com')
  const grace = await auth.signUp('grace@example.com')
  assert.notEqual(ada.userId, grace.userId)
  assert.equal(ada.sessionToken.split('.').length, 1, 'a session token is no JWT')
  const keys = createRemoteJWKSet(new URL(auth.jwksUrl))
  const { payload } = await jwtVerify(await ada.jwt(), keys, { issuer: auth.url, audience: auth.url })
  assert.equal(payload.sub, ada.userId)
})

test('Better Auth with a negative lifetime issues tokens that have expired', async () => {
  await using auth = await startBetterAuth({ jwtLifetime: '-10s' })
  const ada = await auth.signUp('ada@example.com')
  const keys = createRemoteJWKSet(new URL(auth.jwksUrl))
  await assert.rejects(jwtVerify(await ada.jwt(), keys), { code: 'ERR_JWT_EXPIRED' })
})

test('a closed Better Auth cannot be reached', async () => {
  await using auth = await startBetterAuth()
  await auth.close()
  await assert.rejects(fetch(auth.jwksUrl))
})
