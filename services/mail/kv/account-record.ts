/** The record of one account in `mail_accounts`: desired state, binding and sealed credential. Always written by compare-and-set. */
import * as v from 'valibot'

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
  /** Sealed `Credential` that the owner still has to revoke at the provider. */
  revoke: v.nullable(v.string()),
  /** Why the user must sign in again; epoch seconds. */
  reauth: v.nullable(v.object({ code: v.string(), at: v.number() })),
  /** Epoch seconds. */
  updated_at: v.number(),
})
export type AccountRecord = v.InferOutput<typeof AccountRecord>

/** A record with the KV revision at which it was seen. */
export type Revised<T> = { record: T; revision: number }

/** The compare-and-set failed: somebody else wrote in between. Read again and decide again. */
export class RevisionConflict extends Error {
  override readonly name = 'RevisionConflict'
}
