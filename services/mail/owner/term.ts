/** What a tenure is given of the lease that it works under. */
import type { Epoch } from '../base/model.ts'

export type Term = {
  userId: string
  epoch: Epoch
  /** The session that has the lease. */
  owner: string
  /** Whether it still has it. */
  owns(): boolean
  /** What `polledMs` was when the term, which has begun before, went back to rest; null = it is a new one. */
  before: ReadonlyMap<string, number> | null
}
