/**
 * The one reversible encoding of a user id into a file name, a KV key and a NATS subject token.
 * It refuses what it cannot carry; it never normalises, truncates or guesses.
 */
import { AppError } from './errors.ts'

const TOKEN_MAX_CHARS = 180
/** What stands for itself: nearly every user id. */
const PLAIN = /^[A-Za-z0-9_-]+$/
const CANONICAL = /^(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+$/
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const refuse = (reason: string): AppError => new AppError('BAD_USER_ID', { reason })

/**
 * Encodes a user id: identity on `[A-Za-z0-9_-]`, every other UTF-8 byte becomes `=XX`.
 * @throws AppError BAD_USER_ID when the id is empty, not well-formed Unicode, or longer than 180 characters encoded.
 */
export function encodeUser(userId: string): string {
  if (userId.length === 0) throw refuse('empty')
  if (userId.length <= TOKEN_MAX_CHARS && PLAIN.test(userId)) return userId
  if (!userId.isWellFormed()) throw refuse('not well-formed Unicode')
  let token = ''
  for (const byte of Buffer.from(userId, 'utf8')) {
    const char = String.fromCharCode(byte)
    token += /[A-Za-z0-9_-]/.test(char) ? char : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`
    if (token.length > TOKEN_MAX_CHARS) throw refuse(`longer than ${TOKEN_MAX_CHARS} characters when encoded`)
  }
  return token
}

/**
 * Decodes a user token back to the user id.
 * @throws AppError BAD_USER_ID when the token is not what `encodeUser` would have made.
 */
export function decodeUser(token: string): string {
  if (token.length > TOKEN_MAX_CHARS || !CANONICAL.test(token)) throw refuse('not a user token')
  if (PLAIN.test(token)) return token
  const bytes: number[] = []
  for (let i = 0; i < token.length; i++) {
    if (token[i] === '=') {
      bytes.push(Number.parseInt(token.slice(i + 1, i + 3), 16))
      i += 2
    } else bytes.push(token.charCodeAt(i))
  }
  const userId = decodeBytes(Uint8Array.from(bytes))
  if (encodeUser(userId) !== token) throw refuse('not the canonical token of this user')
  return userId
}

function decodeBytes(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new AppError('BAD_USER_ID', { reason: 'not UTF-8' }, { cause })
  }
}
