/** The worker of one account while its user is owned, and what it was started for. */
import type { AccountEntry } from '../kv/accounts.ts'
import type { Worker } from '../sync/worker.ts'

export type Running = {
  worker: Worker
  stop: AbortController
  ended: Promise<void>
  revision: number
  credential: string | null
  verified: boolean
}

/** What is remembered of a worker that was started for this record. */
export const runningOf = (
  { revision, record }: AccountEntry,
  started: Pick<Running, 'worker' | 'stop' | 'ended'>,
): Running => ({ ...started, revision, credential: record.credential, verified: record.unverified !== true })

/** It has ended and there is another credential, or nobody knows yet whose mailbox the new one opens. */
export const isOutdated = ({ worker, credential, verified }: Running, { record }: AccountEntry): boolean =>
  (worker.state.ended !== null && record.credential !== credential) || (verified && record.unverified === true)
