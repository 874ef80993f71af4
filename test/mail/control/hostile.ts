/** Tokens and bodies that must be refused, with the code that each is to get. The same list goes over NATS and over HTTP. */
import type { ErrorCode } from '#shared/errors.ts'
import type { OperationName } from '#shared/subjects.ts'
import type { Signer } from '../../shared/issuer.ts'

export const CANARY = 'canary-7f3a'
/** In the place of a key: the answer may name it, a log may not. */
export const KEY_CANARY = 'key-91c2'
export const BODY = {
  provider: 'google',
  access_token: `${CANARY}-access`,
  refresh_token: `${CANARY}-refresh`,
  expires_in: 3600,
}
export type Hostile = {
  name: string
  /** Value of the Authorization header; undefined = none. */
  authorization: string | undefined
  body: Uint8Array
  code: ErrorCode
}

const bytes = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))
const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** Bodies that each operation accepts. */
const GOOD: Record<OperationName, Record<string, unknown>> = {
  connect: BODY,
  disconnect: { provider: 'google' },
  status: {},
}

/** @param signer the issuer's own @param thief another key under the same name */
export async function hostileRequests(
  issuer: string,
  signer: Signer,
  thief: Signer,
  operation: OperationName,
): Promise<Hostile[]> {
  const fitting = GOOD[operation]
  const now = Math.floor(Date.now() / 1000)
  const claims = { iss: issuer, aud: issuer, sub: 'mallory', exp: now + 600 }
  const good = `Bearer ${await signer.sign(claims)}`
  const signed = async (more: Record<string, unknown>) => `Bearer ${await signer.sign({ ...claims, ...more })}`
  const unsigned = (alg: string) => `Bearer ${part({ alg })}.${part(claims)}.${alg === 'none' ? '' : 'c2ln'}`
  const token = (name: string, authorization: string | undefined, code: ErrorCode): Hostile => ({
    name,
    authorization,
    body: bytes(fitting),
    code,
  })
  const request = (name: string, body: Uint8Array, code: ErrorCode): Hostile => ({
    name,
    authorization: good,
    body,
    code,
  })
  const changed = (more: Record<string, unknown>) => bytes({ ...fitting, ...more })
  const padded = (size: number) => {
    const start = JSON.stringify(fitting).slice(0, -1)
    return Buffer.from(`${start}${' '.repeat(size - start.length - 1)}}`)
  }
  const missing: Record<OperationName, Hostile[]> = {
    connect: [request('a missing field', changed({ refresh_token: undefined }), 'BAD_REQUEST')],
    disconnect: [request('a missing field', changed({ provider: undefined }), 'BAD_REQUEST')],
    status: [],
  }
  // A status needs no body: without one it is a good request.
  const empty = operation === 'status' ? [] : [request('an empty body', Buffer.alloc(0), 'BAD_JSON')]
  return [
    token('no token', undefined, 'TOKEN_MISSING'),
    token('an empty token', 'Bearer ', 'TOKEN_MISSING'),
    token('another scheme', `Basic ${CANARY}`, 'TOKEN_MISSING'),
    token('an opaque session token', `Bearer ${CANARY}0123456789abcdefghij`, 'TOKEN_NOT_A_JWT'),
    token('garbage in three parts', 'Bearer a.b.c', 'TOKEN_NOT_A_JWT'),
    token('a token of nine kilobytes', `Bearer ${'x'.repeat(9 * 1024)}`, 'TOKEN_INVALID'),
    token('the wrong issuer', await signed({ iss: 'https://evil.example.com' }), 'TOKEN_INVALID'),
    token('the wrong audience', await signed({ aud: 'https://other.example.com' }), 'TOKEN_INVALID'),
    token('an expired token', await signed({ exp: now - 60 }), 'TOKEN_EXPIRED'),
    token('no expiry', await signed({ exp: undefined }), 'TOKEN_INVALID'),
    token('no subject', await signed({ sub: undefined }), 'TOKEN_INVALID'),
    token('no algorithm', unsigned('none'), 'TOKEN_INVALID'),
    token('a symmetric algorithm', unsigned('HS256'), 'TOKEN_INVALID'),
    token('the key of somebody else', `Bearer ${await thief.sign(claims)}`, 'TOKEN_INVALID'),
    token('a user id that fits no path', await signed({ sub: '/'.repeat(100) }), 'BAD_USER_ID'),
    ...missing[operation],
    request('a field too many', changed({ scope: 'all' }), 'BAD_REQUEST'),
    request('a user id in the body', changed({ user_id: 'ada' }), 'BAD_REQUEST'),
    request('a token for a key', changed({ [KEY_CANARY]: 1 }), 'BAD_REQUEST'),
    request('an unknown provider', changed({ provider: 'yahoo' }), 'BAD_REQUEST'),
    request('a number as text', changed({ expires_in: '3600' }), 'BAD_REQUEST'),
    request('a negative lifetime', changed({ expires_in: -1 }), 'BAD_REQUEST'),
    request('an empty access token', changed({ access_token: '' }), 'BAD_REQUEST'),
    request('an empty inbox', changed({ inbox_id: '' }), 'BAD_REQUEST'),
    request('an inbox with a dot', changed({ inbox_id: 'a.b' }), 'BAD_REQUEST'),
    request('an inbox in upper case', changed({ inbox_id: 'Work' }), 'BAD_REQUEST'),
    request('an inbox of 33 characters', changed({ inbox_id: 'a'.repeat(33) }), 'BAD_REQUEST'),
    request('one byte too much', padded(64 * 1024 + 1), 'TOO_LARGE'),
    request('a megabyte', padded(1_000_000), 'TOO_LARGE'),
    ...empty,
    request('only spaces', Buffer.from('  '), 'BAD_JSON'),
    request('no JSON', Buffer.from(`{"access_token":"${CANARY}`), 'BAD_JSON'),
    request(
      'text that is no UTF-8',
      Buffer.concat([bytes(BODY).slice(0, -2), Buffer.from([0xff, 0x22, 0x7d])]),
      'BAD_JSON',
    ),
    request('an array', bytes([BODY]), 'BAD_REQUEST'),
    request('null', bytes(null), 'BAD_REQUEST'),
    request('a text', bytes(CANARY), 'BAD_REQUEST'),
    request('a key that is a prototype', Buffer.from('{"__proto__":{"provider":"google"}}'), 'BAD_REQUEST'),
  ]
}
