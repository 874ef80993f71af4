/** The credential of one account: its JSON form inside the seal, and its form in memory, where tokens do not print. */
import * as v from 'valibot'
import { Secret } from '#shared/secret.ts'
import type { AccountRef } from '../base/model.ts'
import type { SealedTokens } from '../store/auth-store.ts'
import { type Seal, SealBrokenError } from './seal.ts'

/** Sealed as one JSON text in `mail_accounts`. `expiry` is epoch seconds. */
export const Credential = v.object({
  access_token: v.pipe(v.string(), v.minLength(1)),
  refresh_token: v.pipe(v.string(), v.minLength(1)),
  expiry: v.pipe(v.number(), v.integer()),
})
export type Credential = v.InferOutput<typeof Credential>

const CredentialText = v.pipe(v.string(), v.parseJson(), Credential)

/** A credential in memory. */
export type Tokens = { accessToken: Secret; refreshToken: Secret; expiryS: number }

/** Seals a credential as the one text of the account's record. */
export function sealCredential(seal: Seal, account: AccountRef, tokens: Tokens): Promise<string> {
  const credential: Credential = {
    access_token: tokens.accessToken.reveal(),
    refresh_token: tokens.refreshToken.reveal(),
    expiry: tokens.expiryS,
  }
  return seal.seal(new Secret(JSON.stringify(credential)), bound(account, 'credential'))
}

/** Opens the credential of an account's record. @throws KeyUnavailableError, SealBrokenError */
export async function openCredential(seal: Seal, account: AccountRef, sealed: string): Promise<Tokens> {
  const text = await seal.open(sealed, bound(account, 'credential'))
  const parsed = v.safeParse(CredentialText, text.reveal())
  // Without the issues of the parser: they quote the text.
  if (!parsed.success) throw new SealBrokenError()
  return {
    accessToken: new Secret(parsed.output.access_token),
    refreshToken: new Secret(parsed.output.refresh_token),
    expiryS: parsed.output.expiry,
  }
}

/** Seals the tokens apart, as auth.db keeps them. */
export async function sealPair(seal: Seal, account: AccountRef, tokens: Tokens): Promise<SealedTokens> {
  const [accessToken, refreshToken] = await Promise.all([
    seal.seal(tokens.accessToken, bound(account, 'access_token')),
    seal.seal(tokens.refreshToken, bound(account, 'refresh_token')),
  ])
  return { accessToken, refreshToken, expiryS: tokens.expiryS }
}

/** Opens the tokens of an auth.db row. @throws KeyUnavailableError, SealBrokenError */
export async function openPair(seal: Seal, account: AccountRef, pair: SealedTokens): Promise<Tokens> {
  const [accessToken, refreshToken] = await Promise.all([
    seal.open(pair.accessToken, bound(account, 'access_token')),
    seal.open(pair.refreshToken, bound(account, 'refresh_token')),
  ])
  return { accessToken, refreshToken, expiryS: pair.expiryS }
}

/** The same credential, sealed with the active key. @throws KeyUnavailableError, SealBrokenError */
export async function resealCredential(seal: Seal, account: AccountRef, sealed: string): Promise<string> {
  return await seal.seal(await seal.open(sealed, bound(account, 'credential')), bound(account, 'credential'))
}

/** The same tokens, sealed with the active key. @throws KeyUnavailableError, SealBrokenError */
export const resealPair = async (seal: Seal, account: AccountRef, pair: SealedTokens): Promise<SealedTokens> =>
  await sealPair(seal, account, await openPair(seal, account, pair))

const bound = <F extends string>({ userId, provider, inboxId }: AccountRef, field: F): AccountRef & { field: F } => ({
  userId,
  provider,
  inboxId,
  field,
})

/** True when both are the very same grant and access token. */
export const sameTokens = (a: Tokens, b: Tokens): boolean =>
  a.accessToken.reveal() === b.accessToken.reveal() && a.refreshToken.reveal() === b.refreshToken.reveal()
