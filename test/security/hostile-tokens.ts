/**
 * Tokens that must be refused, as an attacker makes them who has one honest token, the public keys and keys of their own:
 * forms, headers, algorithms, signatures. Claims that an issuer would have to sign stand in hostile-claims.ts.
 */
import assert from 'node:assert/strict'
import { createPrivateKey, sign } from 'node:crypto'
import { encodePart, type ForgeKey, hmacSigned, signatureOf, signed, signingInput } from './token-forge.ts'

/** A name, and the whole value of the header Authorization. */
export type HostileToken = readonly [name: string, authorization: string]
export type Claims = { sub: string; iss: string; aud: string; exp: number }
export type Attack = {
  /** In the issuer's set, one of each algorithm. */
  honest: Record<ForgeKey['alg'], ForgeKey>
  /** The attacker's, under the same key ids. */
  thief: Record<ForgeKey['alg'], ForgeKey>
  /** Secret of the symmetric key that stands in the issuer's set. */
  secret: string
  claims: Claims
}

const bearer = (name: string, token: string): HostileToken => [name, `Bearer ${token}`]

/** An honest token whose signature is written differently in the two alphabets of base64, as most are. */
function withBothAlphabets(honest: Attack['honest'], claims: Attack['claims']): string {
  const tries = Array.from({ length: 50 }, (_, i) => signed(honest.EdDSA, { ...claims, jti: `${i}` }))
  return tries.find((token) => /[-_][^.]*$/.test(token)) ?? assert.fail('fifty signatures without - and _')
}

export function malformedTokens({ honest, claims }: Attack): HostileToken[] {
  const fine = withBothAlphabets(honest, claims)
  const [header = '', payload = '', signature = ''] = fine.split('.')
  const cuts = Array.from({ length: 24 }, (_, i) => Math.floor((fine.length * i) / 24))
  const standard = `${header}.${payload}.${Buffer.from(signature, 'base64url').toString('base64')}`
  return [
    ...cuts.map((length) => bearer(`the first ${length} characters`, fine.slice(0, length))),
    bearer('without its last character', fine.slice(0, -1)),
    bearer('with one character more', `${fine}B`),
    bearer('with four characters more', `${fine}AAAA`),
    bearer('a part less', `${header}.${payload}`),
    bearer('a part more', `${fine}.${signature}`),
    bearer('an empty header', `.${payload}.${signature}`),
    bearer('an empty payload', `${header}..${signature}`),
    bearer('no signature', `${header}.${payload}.`),
    bearer('header twice', `${header}.${header}.${signature}`),
    bearer('parts in another order', `${payload}.${header}.${signature}`),
    bearer('padded', `${fine}==`),
    bearer('in the alphabet with plus and slash', `${standard}`),
    bearer('a dot in front', `.${fine}`),
    bearer('an encrypted token', 'eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..aXY.dGV4dA.dGFn'),
    bearer('a token in a token', signed(honest.EdDSA, fine)),
    bearer('the JSON form', JSON.stringify({ protected: header, payload, signature })),
    bearer('in quotes', `"${fine}"`),
    bearer('percent-encoded', fine.replaceAll('.', '%2E')),
    bearer('a space inside', `${header}. ${payload}.${signature}`),
    bearer('a tab inside', `${header}\t.${payload}.${signature}`),
    bearer('a line break inside', `${header}\n.${payload}.${signature}`),
    bearer('a zero inside', `${header}.${payload}\0.${signature}`),
    bearer('a space of no width inside', `${header}\u200b.${payload}.${signature}`),
    bearer('full-width dots', fine.replaceAll('.', '\uff0e')),
    bearer('two tokens', `${fine} ${fine}`),
    bearer('two tokens and a comma', `${fine}, Bearer ${fine}`),
    bearer('the scheme twice', `Bearer ${fine}`),
    bearer('opaque', 'p9VhM2cXoTt6zWq0YJ7bKdLfRgAeNuSi'),
    bearer('dots', '..'),
    bearer('letters and dots', 'a.b.c'),
    bearer('a header that is no JSON', `${encodePart('{"alg":"EdDSA"')}.${payload}.${signature}`),
    bearer('a header that is a list', signed(honest.EdDSA, claims, [{ alg: 'EdDSA' }])),
    bearer('a header that is null', signed(honest.EdDSA, claims, 'null')),
    bearer(
      'a header that is no UTF-8',
      `${Buffer.from([0x7b, 0xff, 0x7d]).toString('base64url')}.${payload}.${signature}`,
    ),
    bearer('a payload that is no JSON', signed(honest.EdDSA, 'sub=ada')),
    bearer('a payload that is a list', signed(honest.EdDSA, [claims])),
    bearer('a payload that is a text', signed(honest.EdDSA, JSON.stringify(JSON.stringify(claims)))),
    bearer('a payload that is null', signed(honest.EdDSA, 'null')),
    bearer('nothing in the payload', signed(honest.EdDSA, {})),
    bearer('just over 8 KiB', signed(honest.EdDSA, { ...claims, padding: 'x'.repeat(6_000) })),
    bearer('9 KiB', `${fine}${'A'.repeat(9_000)}`),
    bearer('deep', signed(honest.EdDSA, `${'['.repeat(3_000)}${']'.repeat(3_000)}`)),
    ['another scheme', `Basic ${fine}`],
    ['another scheme with our token', `DPoP ${fine}`],
    ['no scheme', fine],
    ['no space', `Bearer${fine}`],
    ['the scheme alone', 'Bearer'],
    ['the scheme and spaces', 'Bearer    '],
    ['a scheme before the scheme', `Basic x, Bearer ${fine}`],
  ]
}

/** `alg` that is not ours, unsigned or signed with what an attacker has. */
export function algorithmTokens({ honest, thief, secret, claims }: Attack): HostileToken[] {
  const names = [
    'none',
    'None',
    'NONE',
    'nOnE',
    '',
    ' none',
    'none\0',
    'null',
    'undefined',
    'eddsa',
    'EdDSA ',
    'ED25519',
  ]
  const odd = [null, 0, 1, true, [], ['EdDSA'], {}, { alg: 'EdDSA' }]
  const others = ['HS256', 'HS384', 'HS512', 'RS384', 'RS512', 'PS384', 'PS512', 'ES384', 'ES512', 'ES256K', 'Ed25519']
  const more = ['Ed448', 'RSA-OAEP', 'dir', 'A256GCM', 'ECDH-ES', 'RS1', 'ML-DSA-44', 'toString', '__proto__']
  const unsigned = [...names, ...odd].flatMap((alg) => {
    const input = signingInput({ alg, kid: 'EdDSA' }, claims)
    return [
      bearer(`alg ${JSON.stringify(alg)}, no signature`, `${input}.`),
      bearer(
        `alg ${JSON.stringify(alg)}, the signature of the honest key`,
        signed(honest.EdDSA, claims, { alg, kid: 'EdDSA' }),
      ),
    ]
  })
  const foreign = [...others, ...more].map((alg) =>
    bearer(`alg ${alg}, signed by the honest key`, signed(honest.EdDSA, claims, { alg, kid: 'EdDSA' })),
  )
  const { publicKey, jwk } = honest.RS256
  const secrets: [string, string | Buffer][] = [
    ['the public key as PEM', publicKey.export({ type: 'spki', format: 'pem' })],
    [
      'the public key as PEM without its last line break',
      String(publicKey.export({ type: 'spki', format: 'pem' })).trim(),
    ],
    ['the public key as PEM of PKCS 1', publicKey.export({ type: 'pkcs1', format: 'pem' })],
    ['the public key as DER', publicKey.export({ type: 'spki', format: 'der' })],
    ['the public key as JWK', JSON.stringify(jwk)],
    ['the modulus', String(jwk.n)],
    ['the bytes of the Ed25519 key', Buffer.from(String(honest.EdDSA.jwk.x), 'base64url')],
    ['nothing', ''],
    ['the symmetric key of the set', secret],
  ]
  const symmetric = secrets.flatMap(([name, key]) =>
    ([256, 512] as const).map((bits) =>
      bearer(`HS${bits} with ${name}`, hmacSigned(bits, key, claims, { kid: 'RS256' })),
    ),
  )
  const pem = String(publicKey.export({ type: 'spki', format: 'pem' }))
  return [
    ...unsigned,
    ...foreign,
    ...symmetric,
    bearer('HS256 with the key id of the symmetric key', hmacSigned(256, secret, claims, { kid: 'symmetric' })),
    bearer('HMAC under the name RS256', hmacSigned(256, pem, claims, { alg: 'RS256', kid: 'RS256' })),
    bearer('HMAC under the name EdDSA', hmacSigned(256, secret, claims, { alg: 'EdDSA', kid: 'symmetric' })),
    bearer('no alg', signed(honest.EdDSA, claims, { kid: 'EdDSA' })),
    bearer('alg twice, none last', `${signingInput('{"alg":"EdDSA","kid":"EdDSA","alg":"none"}', claims)}.`),
    bearer('alg twice, none first', `${signingInput('{"alg":"none","alg":"EdDSA","kid":"EdDSA"}', claims)}.`),
    bearer(
      'the thief’s key under alg twice',
      signed(thief.EdDSA, claims, '{"alg":"none","kid":"EdDSA","alg":"EdDSA"}'),
    ),
  ]
}

/** Keys that the token brings along, and key ids that lead elsewhere. All of them are signed, by the attacker. */
export function keyTokens({ honest, thief, claims }: Attack): HostileToken[] {
  const { alg, jwk } = thief.EdDSA
  const der = Buffer.from('not a certificate').toString('base64')
  const headers: [string, Record<string, unknown>][] = [
    ['a key in the token', { kid: 'new', jwk }],
    ['a key in the token under a known id', { kid: 'EdDSA', jwk }],
    ['a key in the token and no id', { jwk }],
    ['a private key in the token', { kid: 'new', jwk: thief.EdDSA.privateKey.export({ format: 'jwk' }) }],
    ['the address of a key set', { kid: 'new', jku: 'https://evil.example/jwks' }],
    ['the address of a key set at loopback', { kid: 'EdDSA', jku: 'http://127.0.0.1:9/jwks' }],
    ['a key set as data', { kid: 'EdDSA', jku: `data:application/json,${JSON.stringify({ keys: [jwk] })}` }],
    ['a file as key set', { kid: 'EdDSA', jku: 'file:///etc/passwd' }],
    ['a certificate in the token', { kid: 'EdDSA', x5c: [der] }],
    ['the address of a certificate', { kid: 'EdDSA', x5u: 'https://evil.example/c.pem' }],
    ['the hash of a certificate', { kid: 'EdDSA', x5t: der, 'x5t#S256': der }],
    ['another type', { kid: 'EdDSA', typ: 'at+jwt', cty: 'JWT' }],
    ['compressed', { kid: 'EdDSA', zip: 'DEF' }],
  ]
  const ids = [
    '',
    ' ',
    'eddsa',
    'EdDSA ',
    'EdDSA\0',
    '*',
    '../../etc/passwd',
    '/dev/null',
    "' OR 1=1 --",
    '| id',
    '__proto__',
  ]
  const odd = [
    'constructor',
    'toString',
    'k'.repeat(4_000),
    '\r\nAuthorization: x',
    'jndi:ldap://evil.example',
    null,
    0,
    true,
  ]
  const kids = [...ids, ...odd, [], ['EdDSA'], {}, { $ne: null }]
  return [
    ...headers.map(([name, header]) => bearer(name, signed(thief.EdDSA, claims, { alg, ...header }))),
    ...kids.map((kid) =>
      bearer(`key id ${JSON.stringify(kid).slice(0, 40)}`, signed(thief.EdDSA, claims, { alg, kid })),
    ),
    bearer('no key id', signed(thief.EdDSA, claims, { alg })),
    ...Object.values(thief).map((key) => bearer(`another ${key.alg} key under the known id`, signed(key, claims))),
    ...mismatches(honest, claims),
  ]
}

/** The right key, and the header names another algorithm or another key. */
function mismatches(honest: Attack['honest'], claims: Claims): HostileToken[] {
  const keys = Object.values(honest)
  return keys.flatMap((key) =>
    keys
      .filter((other) => other !== key)
      .flatMap((other) => [
        bearer(
          `signed as ${key.alg}, header ${other.alg} and its key`,
          signed(key, claims, { alg: other.alg, kid: other.jwk.kid }),
        ),
        bearer(`signed as ${key.alg}, header ${other.alg}`, signed(key, claims, { alg: other.alg, kid: key.jwk.kid })),
        bearer(`signed as ${key.alg}, key of ${other.alg}`, signed(key, claims, { alg: key.alg, kid: other.jwk.kid })),
      ]),
  )
}

/** Signatures that were changed, and such that are nothing but special numbers. */
export function signatureTokens({ honest, claims }: Attack): HostileToken[] {
  const input = (key: ForgeKey): string => signingInput({ alg: key.alg, kid: key.jwk.kid }, claims)
  const withSignature = (name: string, key: ForgeKey, bytes: Buffer): HostileToken =>
    bearer(`${key.alg}: ${name}`, `${input(key)}.${bytes.toString('base64url')}`)
  const each = Object.values(honest).flatMap((key) => {
    const good = signatureOf(key, input(key))
    const flipped = [0, 1, 31, 32, good.length - 1].map((at) => {
      const bytes = Buffer.from(good)
      bytes[at] = (bytes[at] ?? 0) ^ 1
      return withSignature(`a bit of byte ${at} changed`, key, bytes)
    })
    const stranger = signatureOf(key, input(key).replace(/^./, 'e').slice(0, -1))
    return [
      ...flipped,
      withSignature('zeros', key, Buffer.alloc(good.length)),
      withSignature('ones', key, Buffer.alloc(good.length, 0xff)),
      // The last one: without a leading zero an RSA signature is the same number, and OpenSSL takes it for what it is.
      withSignature('a byte less', key, good.subarray(0, -1)),
      withSignature('a byte more', key, Buffer.concat([good, Buffer.alloc(1)])),
      withSignature('twice', key, Buffer.concat([good, good])),
      withSignature(
        'the halves swapped',
        key,
        Buffer.concat([good.subarray(good.length / 2), good.subarray(0, good.length / 2)]),
      ),
      withSignature('that of another token', key, stranger),
      bearer(
        `${key.alg}: another payload`,
        `${signingInput({ alg: key.alg, kid: key.jwk.kid }, { ...claims, sub: 'eve' })}.${good.toString('base64url')}`,
      ),
      ...slackBits(key, input(key), good),
    ]
  })
  const der = sign(
    'sha256',
    Buffer.from(input(honest.ES256)),
    createPrivateKey(honest.ES256.privateKey.export({ type: 'pkcs8', format: 'pem' })),
  )
  return [
    ...each,
    withSignature('as DER', honest.ES256, der),
    withSignature('S too large', honest.EdDSA, plusOrder(signatureOf(honest.EdDSA, input(honest.EdDSA)))),
  ]
}

/** Other texts of the same signature: the last character has bits that no byte uses. */
function slackBits(key: ForgeKey, input: string, good: Buffer): HostileToken[] {
  const text = good.toString('base64url')
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(text.slice(-1))
  const others = [last ^ 1, last | 1].map((at) => `${text.slice(0, -1)}${alphabet[at]}`)
  return [...new Set(others)]
    .filter((other) => other !== text)
    .map((other) => bearer(`${key.alg}: the same bytes, written as ${other.slice(-1)}`, `${input}.${other}`))
}

/** S + L of Ed25519: the same point of the curve for a verifier that does not look at the range. */
function plusOrder(signature: Buffer): Buffer {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  const hex = Buffer.from(signature.subarray(32)).reverse().toString('hex')
  const sum = (BigInt(`0x${hex}`) + order).toString(16).padStart(64, '0')
  return Buffer.concat([signature.subarray(0, 32), Buffer.from(sum, 'hex').reverse()])
}
