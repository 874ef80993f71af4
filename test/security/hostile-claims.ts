/**
 * Tokens that the issuer itself has signed and that are not for us, not yet or no longer valid, or without what we need;
 * and headers that only the owner of a key could sign.
 */
import type { Attack, HostileToken } from './hostile-tokens.ts'
import { type ForgeKey, type Part, signatureOf, signed, weakKey } from './token-forge.ts'

const NO_TEXT = [null, '', 0, 7, true, false, [], {}, ['x']] as const

export function claimTokens({ honest, claims }: Attack): HostileToken[] {
  const { iss, aud, exp } = claims
  const nowS = exp - 600
  const changed = (claim: string, value: unknown): HostileToken => [
    `${claim} ${JSON.stringify(value)?.slice(0, 60) ?? 'missing'}`,
    `Bearer ${signed(honest.EdDSA, { ...claims, [claim]: value })}`,
  ]
  const raw = (name: string, payload: Part): HostileToken => [name, `Bearer ${signed(honest.EdDSA, payload)}`]
  const origins = [
    `${iss}/`,
    `${iss} `,
    ` ${iss}`,
    iss.toUpperCase(),
    iss.replace('http:', 'https:'),
    `${iss}.evil.example`,
  ]
  const foreign = [
    ...origins,
    'https://evil.example',
    `https://evil.example/?${iss}`,
    iss.replace('127.0.0.1', 'localhost'),
  ]
  const text = JSON.stringify(claims).slice(0, -1)
  return [
    ...[undefined, ...NO_TEXT, [iss], { iss }, ...foreign].map((value) => changed('iss', value)),
    ...[undefined, ...NO_TEXT, [[aud]], { aud }, { 0: aud, length: 1 }, ...foreign, [`${aud}/`, 'web']].map((value) =>
      changed('aud', value),
    ),
    ...[undefined, ...NO_TEXT, ['ada'], { toString: 'ada' }].map((value) => changed('sub', value)),
    ...[undefined, null, '', String(exp), 'never', true, [], [exp], {}].map((value) => changed('exp', value)),
    ...[0, -1, 1, nowS - 6, nowS - 60, nowS - 86_400, -exp, 1e-9].map((value) => changed('exp', value)),
    ...[null, '', 'now', String(nowS), true, [], [nowS], {}].map((value) => changed('nbf', value)),
    ...[nowS + 60, nowS + 86_400, exp * 1000].map((value) => changed('nbf', value)),
    ...['now', null, true, {}].map((value) => changed('iat', value)),
    raw('an end that is no number any more', `${text.replace(/"exp":\d+/, '"exp":1e999')}}`),
    raw('a start that is no number any more', `${text},"nbf":1e999}`),
    raw('sub twice, a number last', `${text},"sub":7}`),
    raw('exp twice, the past last', `${text},"exp":${nowS - 60}}`),
    raw('aud twice, another last', `${text},"aud":"web"}`),
    raw('iss twice, another last', `${text},"iss":"https://evil.example"}`),
    raw('claims of a prototype', `{"__proto__":${JSON.stringify(claims)}}`),
    raw('claims of a constructor', `{"constructor":{"prototype":${JSON.stringify(claims)}}}`),
    raw('claims one level down', { claims }),
    raw('claims in upper case', { ISS: iss, AUD: aud, SUB: 'ada', EXP: exp }),
  ]
}

/** Critical headers and unencoded payloads, with good signatures. */
export function criticalTokens({ honest, claims }: Attack): HostileToken[] {
  const base = { alg: 'EdDSA', kid: 'EdDSA' }
  const headers: Record<string, unknown>[] = [
    { crit: ['x'], x: 1 },
    { crit: ['x'] },
    { crit: [] },
    { crit: 'x' },
    { crit: null },
    { crit: {} },
    { crit: [''] },
    { crit: [7] },
    { crit: ['exp'], exp: claims.exp },
    { crit: ['alg'] },
    { crit: ['b64'] },
    { crit: ['b64'], b64: false },
    { crit: ['b64'], b64: 'false' },
    { crit: ['b64', 'x'], b64: true, x: 1 },
    { crit: ['http://example.com/UNDEFINED'], 'http://example.com/UNDEFINED': true },
  ]
  return [
    ...headers.map(
      (more): HostileToken => [
        `header ${JSON.stringify(more)}`,
        `Bearer ${signed(honest.EdDSA, claims, { ...base, ...more })}`,
      ],
    ),
    ['a payload that is signed before it is encoded', `Bearer ${unencoded(honest.EdDSA, claims)}`],
  ]
}

function unencoded(key: ForgeKey, claims: object): string {
  const header = Buffer.from(JSON.stringify({ alg: key.alg, kid: key.jwk.kid, b64: false, crit: ['b64'] })).toString(
    'base64url',
  )
  const payload = JSON.stringify(claims)
  const signature = signatureOf(key, `${header}.${payload}`).toString('base64url')
  return `${header}.${Buffer.from(payload).toString('base64url')}.${signature}`
}

/** Keys that stand in the issuer's set and are not for signatures, or too weak; each with the tokens that they sign. */
export function unfitKeys({ claims, honest }: Attack): { keys: object[]; tokens: HostileToken[] } {
  const weak = weakKey('weak')
  const own = honest.EdDSA
  const named = (kid: string, more: object): object => ({ ...own.jwk, kid, ...more })
  const keys = [
    weak.jwk,
    named('encrypts', { use: 'enc' }),
    named('wraps', { key_ops: ['wrapKey'] }),
    named('other', { alg: 'ES256' }),
    named('crippled', { x: 'AAAA' }),
    { kty: 'EC', kid: 'no-curve', alg: 'ES256', crv: 'P-256', x: 'AAAA', y: 'AAAA' },
  ]
  const tokens: HostileToken[] = [
    ['a key of 1024 bits', `Bearer ${signed(weak, claims)}`],
    ...['encrypts', 'wraps', 'other', 'crippled'].map(
      (kid): HostileToken => [`the key ${kid}`, `Bearer ${signed(own, claims, { alg: 'EdDSA', kid })}`],
    ),
    [
      'a key that is no point of its curve',
      `Bearer ${signed(honest.ES256, claims, { alg: 'ES256', kid: 'no-curve' })}`,
    ],
  ]
  return { keys, tokens }
}
