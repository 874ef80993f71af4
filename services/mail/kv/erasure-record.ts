/**
 * The record `<user>.erased` in `mail_accounts`: the wish that a user is erased and, once that is done, what tells old disks
 * which of what they have is from before. It holds nothing of the user but the key that it stands under.
 */
import * as v from 'valibot'
import { TrailRecord } from '#shared/trail.ts'

const facts = {
  v: v.literal(1),
  /** Record of the call for the audit trail; put there when all is done, it is the receipt. */
  receipt: TrailRecord,
  /** Epoch seconds when it was asked for, or done. */
  at: v.number(),
}

export const Erased = v.object({
  ...facts,
  erase: v.literal('done'),
  /** The term that has erased: a database of a later one is of a user who has connected again. */
  epoch: v.object({ era: v.number(), rev: v.number() }),
  /** The bucket, and its revision up to which records of the user are gone. */
  bucketCreatedMs: v.number(),
  upTo: v.number(),
})
export type Erased = v.InferOutput<typeof Erased>

export const ErasureRecord = v.variant('erase', [v.object({ ...facts, erase: v.literal('asked') }), Erased])
export type ErasureRecord = v.InferOutput<typeof ErasureRecord>

/** What was made from a record at this revision of this bucket is of a user who was erased since. */
export const isFromBefore = (
  { bucketCreatedMs, upTo }: Erased,
  from: { bucketCreatedMs: number; revision: number },
): boolean =>
  from.bucketCreatedMs < bucketCreatedMs || (from.bucketCreatedMs === bucketCreatedMs && from.revision <= upTo)
