/**
 * Makes tokens as text, part by part, with keys of all kinds: also those that no library would sign.
 * It knows how to sign; what of it must be refused is for the lists that use it.
 */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { JWK } from 'jose'

export type Part = string | Record<string, unknown> | unknown[]
export type ForgeKey = {
  alg: 'EdDSA' | 'ES256' | 'RS256' | 'PS256'
  publicKey: KeyObject
  privateKey: KeyObject
  /** The public half, with key id and algorithm. */
  jwk: JWK & { kid: string }
}

const PAIRS = {
  EdDSA: () => generateKeyPairSync('ed25519'),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  PS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
}

export function forgeKey(kid: string, alg: ForgeKey['alg'], pair = PAIRS[alg]()): ForgeKey {
  return { alg, ...pair, jwk: { ...pair.publicKey.export({ format: 'jwk' }), kid, alg } }
}

/** RSA 1024: too short for any of our algorithms. */
export const weakKey = (kid: string): ForgeKey =>
  forgeKey(kid, 'RS256', generateKeyPairSync('rsa', { modulusLength: 1024 }))

/** Text of a part: a string goes in as it is, everything else as JSON. */
export const encodePart = (part: Part): string =>
  Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url')

export const signingInput = (header: Part, payload: Part): string => `${encodePart(header)}.${encodePart(payload)}`

/** The signature of the key's own algorithm, whatever the header says. */
export function signatureOf(key: ForgeKey, input: string): Buffer {
  const data = Buffer.from(input)
  if (key.alg === 'EdDSA') return sign(null, data, key.privateKey)
  if (key.alg === 'ES256') return sign('sha256', data, { key: key.privateKey, dsaEncoding: 'ieee-p1363' })
  // 6: RSA-PSS, with a salt as long as the hash.
  return sign(
    'sha256',
    data,
    key.alg === 'PS256' ? { key: key.privateKey, padding: 6, saltLength: 32 } : key.privateKey,
  )
}

export const signed = (key: ForgeKey, payload: Part, header: Part = { alg: key.alg, kid: key.jwk.kid }): string => {
  const input = signingInput(header, payload)
  return `${input}.${signatureOf(key, input).toString('base64url')}`
}

/** HMAC with any secret: what an attacker signs who has only the public key. */
export function hmacSigned(bits: 256 | 384 | 512, secret: string | Buffer, payload: Part, header: object): string {
  const input = signingInput({ alg: `HS${bits}`, ...header }, payload)
  return `${input}.${createHmac(`sha${bits}`, secret).update(input).digest('base64url')}`
}
