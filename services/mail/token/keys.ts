/**
 * The keys of the token seal: where they come from and which of them seals. It refuses anything doubtful (two sources,
 * a file that others may read, a missing key that stored tokens need) and never writes a key except the first one of a
 * development machine. Key material leaves this file only as a CryptoKey that cannot be exported, and as deciphers.
 */
import { createDecipheriv, createSecretKey, type DecipherGCM, webcrypto } from 'node:crypto'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import type { Secret } from '#shared/secret.ts'
import { localKey } from './key-file.ts'
import { keysFromCommand, keysFromFile } from './key-sources.ts'

export type SealKey = {
  readonly kid: string
  readonly key: webcrypto.CryptoKey
  /** A decipher of AES-256-GCM with this key, for one text. */
  decipher(iv: Uint8Array): DecipherGCM
}

export type KeyRing = {
  /** The key that seals. */
  active(): SealKey
  /** The key that opens what was sealed with it; null when this instance does not have it. */
  byKid(kid: string): SealKey | null
  /** The names of all keys, the active one first. */
  readonly kids: readonly string[]
}

export type KeyOptions = {
  /** MAIL_TOKEN_KEYS: `kid:base64url of 32 bytes[,…]`, the first one seals. */
  keys?: Secret | undefined
  /** MAIL_TOKEN_KEY_FILE: a file with the same text. */
  keyFile?: string | undefined
  /** MAIL_TOKEN_KEY_COMMAND: a program that prints the same text. */
  keyCommand?: string | undefined
  /** NODE_ENV=production: no key is made by itself. */
  production: boolean
  /** MAIL_DATA_DIR: the key that is made by itself lies beside it, never below. */
  dataDir: string
  /** Keys that stored tokens are sealed with (auth.db and `mail_accounts`). All of them must be there. */
  kidsInUse: readonly string[]
  signal?: AbortSignal
}

/** Prints one new key; in the message that asks for one, and in the documents. */
export const MAKE_KEY_COMMAND = `node -e 'console.log("k"+Date.now()+":"+require("crypto").randomBytes(32).toString("base64url"))'`

const KID = /^[A-Za-z0-9_-]{1,64}$/
const KEY_BYTES = 32
const TAG_BYTES = 16

/**
 * Reads the keys from their one source, or makes the first key of a development machine.
 * @throws ExitError 78 naming the source and the remedy, never a value.
 */
export async function loadKeys(options: KeyOptions, log: Log): Promise<KeyRing> {
  const { text, source } = await readSource(options, log)
  const keys = await parseKeys(text, source)
  const missing = options.kidsInUse.filter((kid) => !keys.some((key) => key.kid === kid))
  if (missing.length > 0) throw missingKeys(missing, source)
  log.info({ kids: keys.map(({ kid }) => kid), source }, 'token keys loaded')
  return ringOf(keys)
}

async function readSource(options: KeyOptions, log: Log): Promise<{ text: string; source: string }> {
  const { keys, keyFile, keyCommand } = options
  const given = [
    ...(keys === undefined ? [] : ['MAIL_TOKEN_KEYS']),
    ...(keyFile === undefined ? [] : ['MAIL_TOKEN_KEY_FILE']),
    ...(keyCommand === undefined ? [] : ['MAIL_TOKEN_KEY_COMMAND']),
  ]
  if (given.length > 1) throw new ExitError(EXIT_CONFIG, `${given.join(' and ')} are set: keep exactly one of them`)
  if (keys !== undefined) return { text: keys.reveal(), source: 'MAIL_TOKEN_KEYS' }
  if (keyFile !== undefined)
    return { text: keysFromFile(keyFile, 'MAIL_TOKEN_KEY_FILE'), source: 'MAIL_TOKEN_KEY_FILE' }
  if (keyCommand !== undefined)
    return { text: await keysFromCommand(keyCommand, options.signal), source: 'MAIL_TOKEN_KEY_COMMAND' }
  if (options.production)
    throw new ExitError(
      EXIT_CONFIG,
      `There is no token key, and NODE_ENV=production makes none by itself. Set MAIL_TOKEN_KEYS, MAIL_TOKEN_KEY_FILE or MAIL_TOKEN_KEY_COMMAND; make a key with: ${MAKE_KEY_COMMAND}`,
    )
  return localKey(options.dataDir, options.kidsInUse, log)
}

/** Every fault is named by its position, because an entry without a colon may be the bare key. */
async function parseKeys(text: string, source: string): Promise<SealKey[]> {
  const keys: SealKey[] = []
  for (const [index, entry] of text.trim().split(',').entries()) {
    const fault = (what: string): ExitError => new ExitError(EXIT_CONFIG, `${source}: entry ${index + 1} ${what}`)
    const [kid = '', encoded = '', ...rest] = entry.trim().split(':')
    if (!KID.test(kid) || rest.length > 0)
      throw fault('is not <kid>:<key>, where kid has 1 to 64 characters of A-Z a-z 0-9 _ -')
    const bytes = Buffer.from(encoded, 'base64url')
    // Canonical text only: Buffer silently drops what it cannot decode.
    if (bytes.length !== KEY_BYTES || bytes.toString('base64url') !== encoded)
      throw fault(`has no key of ${KEY_BYTES} bytes in base64url; make one with: ${MAKE_KEY_COMMAND}`)
    if (keys.some((known) => known.kid === kid)) throw fault('repeats the kid of an earlier one')
    keys.push({ kid, key: await importKey(bytes), decipher: deciphers(bytes) })
    bytes.fill(0)
  }
  return keys
}

const importKey = (bytes: Buffer<ArrayBuffer>): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('raw', bytes, 'AES-GCM', false, ['encrypt', 'decrypt'])

/** Of a copy of the key, in the memory of OpenSSL. */
function deciphers(bytes: Buffer): SealKey['decipher'] {
  const key = createSecretKey(bytes)
  return (iv) => createDecipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES })
}

function ringOf(keys: SealKey[]): KeyRing {
  const byKid = new Map(keys.map((key) => [key.kid, key]))
  const [active] = keys
  if (active === undefined) throw new Error('a key ring needs a key')
  return { active: () => active, byKid: (kid) => byKid.get(kid) ?? null, kids: [...byKid.keys()] }
}

/** The refusal to run without a key that stored tokens are sealed with. */
export function missingKeys(kids: readonly string[], source: string): ExitError {
  const shown = kids.slice(0, 5).map((kid) => (KID.test(kid) ? kid : '(malformed)'))
  return new ExitError(
    EXIT_CONFIG,
    `Stored tokens are sealed with ${shown.join(', ')}, which ${source} does not have. Give this instance that key too, after the one that shall seal; a new key would lose those tokens. "mailctl rekey" seals them with another key; then this one may go.`,
  )
}
