/** What a tenure is given of the lease that it works under, and how it may end. */
import type { Epoch } from '../base/model.ts'

/** One for all tenures: functions of its own would be a tenth of what each holds. */
export type TermHost = {
  /** The session still has the lease of the term. */
  owns(term: Term): boolean
  /** The tenure of the user is to be looked at anew. */
  changed(userId: string): void
}

export type Term = {
  userId: string
  epoch: Epoch
  /** The session that has the lease. */
  owner: string
  /** What `polledMs` was when the term, which has begun before, went back to rest; null = it is a new one. */
  before: ReadonlyMap<string, number> | null
}

/** How a term has ended before its time. */
export type Lost = { readonly aborted: boolean; readonly reason?: unknown }
export const NOT_LOST: Lost = { aborted: false }
