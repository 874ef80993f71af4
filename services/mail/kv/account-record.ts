/** The record of one account in `mail_accounts`: desired state, binding and sealed credential. Always written by compare-and-set. */
import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { TrailRecord } from '#shared/trail.ts'

/** A call is refused when so many records wait for the audit trail: nothing changes that nobody can account for. */
export const OWED_MAX = 32

export const AccountRecord = v.object({
  v: v.literal(1),
  desired: v.picklist(['connected', 'disconnected']),
  /** What the inbox is bound to; null until the worker has asked the provider. */
  mailbox: v.nullable(v.string()),
  /** The provider could not say whose the credential is: the worker asks before it reads anything with it. */
  unverified: v.optional(v.literal(true)),
  address: v.nullable(v.string()),
  /** Sealed `Credential`; null when disconnected. */
  credential: v.nullable(v.string()),
  /**
   * The credential was sealed anew with another key: `from` says which one it is, `to` is the hash of the value that this
   * was said of. Whoever writes another credential need not know of it.
   */
  resealed: v.optional(v.object({ from: v.string(), to: v.string() })),
  /** Sealed `Credential` that the owner still has to revoke at the provider. */
  revoke: v.nullable(v.string()),
  /** Why the user must sign in again; epoch seconds. */
  reauth: v.nullable(v.object({ code: v.string(), at: v.number() })),
  /** Seals the account's positions in `mail_state`, see sealed-lanes.ts; records of an earlier version have none. */
  positions_key: v.optional(v.string()),
  /** What the audit trail still has to be told, by the owner of the user, the oldest first. */
  owed: v.optional(v.array(TrailRecord)),
  /** When the user connected it last, epoch seconds; records of an earlier version do not tell. */
  connected_at: v.optional(v.number()),
  /** Epoch seconds. */
  updated_at: v.number(),
})
export type AccountRecord = v.InferOutput<typeof AccountRecord>
export type ConnectedRecord = AccountRecord & { credential: string }

/** SHA-256, hex. Sealed values are never equal by chance (random IV): the same hash is the same write. */
const hashOf = (sealed: string): string => createHash('sha256').update(sealed).digest('hex')

/** Which credential a record holds, by whatever key it is sealed: the hash of the value that it was first sealed as. */
export function credentialId(record: ConnectedRecord): string
export function credentialId(record: AccountRecord): string | null
export function credentialId({ credential, resealed }: AccountRecord): string | null {
  if (credential === null) return null
  const hash = hashOf(credential)
  return resealed?.to === hash ? resealed.from : hash
}

/** The record with its credential sealed anew. It is the same credential, of the same time. */
export const withSealedAnew = (record: ConnectedRecord, credential: string): ConnectedRecord => ({
  ...record,
  credential,
  resealed: { from: credentialId(record), to: hashOf(credential) },
})

/** The record of an account that is disconnected from now on (epoch seconds); its grant is to be revoked. */
export const withoutGrant = (current: AccountRecord, atS: number): AccountRecord => ({
  ...current,
  desired: 'disconnected',
  credential: null,
  revoke: current.credential ?? current.revoke,
  reauth: null,
  updated_at: atS,
})

/** What is owed once this is done too. */
export const owing = (current: AccountRecord | null, record: TrailRecord): Required<Pick<AccountRecord, 'owed'>> => ({
  owed: [...(current?.owed ?? []), record],
})

/** The record when these were told; null when it did not owe them. */
export function withoutOwed(now: AccountRecord | null, told: readonly TrailRecord[]): AccountRecord | null {
  if (now?.owed === undefined) return null
  const { owed, ...rest } = now
  const left = owed.filter(({ id }) => !told.some((one) => one.id === id))
  return left.length === 0 ? rest : { ...rest, owed: left }
}

/** A record with the KV revision at which it was seen. */
export type Revised<T> = { record: T; revision: number }

/** The compare-and-set failed: somebody else wrote in between. Read again and decide again. */
export class RevisionConflict extends Error {
  override readonly name = 'RevisionConflict'
}
