/**
 * Seals tokens for storage: JWE (`dir`, A256GCM) in the form `protected..iv.ciphertext.tag`. User, provider, inbox and
 * field are authenticated but stored nowhere in it, so that a value copied to another row does not open.
 * There is no plaintext fallback: what is not such a value is broken.
 *
 * Sealed by jose, opened by node's own cipher: after a start each user's token is opened, and jose has that done by a thread,
 * which takes five times as long (ADR 0046).
 */
import * as v from 'valibot'
import { jose } from '#shared/jose.ts'
import { Secret } from '#shared/secret.ts'
import type { AccountRef } from '../base/model.ts'
import type { KeyRing, SealKey } from './keys.ts'

export type SealField = 'credential' | 'access_token' | 'refresh_token'
/** What a sealed value belongs to. */
export type SealBinding = AccountRef & { field: SealField }

export type Seal = {
  seal(plain: Secret, binding: SealBinding): Promise<string>
  /** @throws KeyUnavailableError, SealBrokenError */
  open(sealed: string, binding: SealBinding): Promise<Secret>
}

/** The value is sealed with a key that this instance does not have. The account pauses; nothing is deleted. */
export class KeyUnavailableError extends Error {
  override readonly name = 'KeyUnavailableError'
  readonly code = 'KEY_UNAVAILABLE'
  readonly kid: string
  constructor(kid: string) {
    super(`no token key "${kid}"`)
    this.kid = kid
  }
}

/** Not a sealed value, changed since, or sealed for another user, provider, inbox or field. */
export class SealBrokenError extends Error {
  override readonly name = 'SealBrokenError'
  readonly code = 'SEAL_BROKEN'
  constructor() {
    super('a sealed token cannot be opened: it was changed or belongs elsewhere')
  }
}

const PURPOSE = 'mailsync.token.v1'
const ALG = 'dir'
const ENC = 'A256GCM'
const SEALED = /^([\w-]+)\.\.([\w-]{16})\.([\w-]*)\.([\w-]{22})$/
/** Strict, and compared by its bytes below: no other member (zip, crit) can get in. */
const Header = v.pipe(
  v.string(),
  v.parseJson(),
  v.strictObject({ alg: v.literal(ALG), enc: v.literal(ENC), kid: v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/)) }),
)

const encodeText = (text: string): string => Buffer.from(text, 'utf8').toString('base64url')
const headerOf = (kid: string): { alg: string; enc: string; kid: string } => ({ alg: ALG, enc: ENC, kid })

/** Binding in one canonical text; as an array, because joined text could be cut in two ways. */
const bindingBytes = ({ userId, provider, inboxId, field }: SealBinding): Uint8Array =>
  new TextEncoder().encode(JSON.stringify([PURPOSE, userId, provider, inboxId, field]))

/** What stands in front of a value: the same for all values of one key. It is no proof that the value is whole. */
export const headOf = (sealed: string): string => sealed.slice(0, Math.max(0, sealed.indexOf('.')))

/** What stands in front of every value that this key has sealed. */
export const headFor = (kid: string): string => encodeText(JSON.stringify(headerOf(kid)))

/** The key that a head names, which is spelled in one way only; null when it is no head of a sealed value. */
export function kidOfHead(head: string): string | null {
  const parsed = v.safeParse(Header, Buffer.from(head, 'base64url').toString('utf8'))
  if (!parsed.success || headFor(parsed.output.kid) !== head) return null
  return parsed.output.kid
}

type Parts = { kid: string; head: string; iv: Buffer; ciphertext: Buffer; tag: Buffer }

/** @throws SealBrokenError where the last character carries unused bits: only the canonical spelling counts. */
function bytesOf(part: string): Buffer {
  const bytes = Buffer.from(part, 'base64url')
  if (bytes.toString('base64url') !== part) throw new SealBrokenError()
  return bytes
}

function partsOf(sealed: string): Parts {
  const [, head = '', iv = '', ciphertext = '', tag = ''] = SEALED.exec(sealed) ?? []
  const kid = kidOfHead(head)
  if (kid === null) throw new SealBrokenError()
  return { kid, head, iv: bytesOf(iv), ciphertext: bytesOf(ciphertext), tag: bytesOf(tag) }
}

/** The key that a value is sealed with. @throws SealBrokenError */
export const kidOf = (sealed: string): string => partsOf(sealed).kid

/** The keys of many values, each once. Broken values have none: they fail when they are opened. */
export function kidsOf(sealed: Iterable<string>): string[] {
  const kids = new Set<string>()
  for (const value of sealed) {
    try {
      kids.add(kidOf(value))
    } catch (error) {
      if (!(error instanceof SealBrokenError)) throw error
    }
  }
  return [...kids]
}

/** As RFC 7516 has it: the head and what is authenticated besides, joined by a dot. @throws SealBrokenError */
function opened({ head, iv, ciphertext, tag }: Parts, { decipher }: SealKey, binding: Uint8Array): string {
  const aad = Buffer.from(`${head}.${Buffer.from(binding).toString('base64url')}`)
  try {
    const plain = decipher(iv).setAAD(aad).setAuthTag(tag)
    return Buffer.concat([plain.update(ciphertext), plain.final()]).toString('utf8')
  } catch {
    throw new SealBrokenError()
  }
}

/** Sealing and opening with the keys of a ring. @param onSeal told of each value, with the key that seals it */
export function createSeal(keys: KeyRing, onSeal: (kid: string) => void = () => undefined): Seal {
  return {
    async seal(plain, binding) {
      const { FlattenedEncrypt } = await jose()
      const { kid, key } = keys.active()
      const jwe = await new FlattenedEncrypt(new TextEncoder().encode(plain.reveal()))
        .setProtectedHeader(headerOf(kid))
        .setAdditionalAuthenticatedData(bindingBytes(binding))
        .encrypt(key)
      onSeal(kid)
      return `${jwe.protected}..${jwe.iv}.${jwe.ciphertext}.${jwe.tag}`
    },
    async open(sealed, binding) {
      const parts = partsOf(sealed)
      const found = keys.byKid(parts.kid)
      if (found === null) throw new KeyUnavailableError(parts.kid)
      return new Secret(opened(parts, found, bindingBytes(binding)))
    },
  }
}
