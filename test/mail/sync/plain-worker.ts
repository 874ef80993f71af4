/** What a worker needs beside provider, store and clock, when nobody else shares its mailbox and nothing goes wrong. */
import { Secret } from '#shared/secret.ts'
import type { Pace } from '../../../services/mail/base/slot.ts'
import type { Clock } from '../../../services/mail/base/time.ts'
import { type Audit, NO_AUDIT } from '../../../services/mail/store/audits.ts'
import { MailboxLimiter, TokenBucket } from '../../../services/mail/sync/limiter.ts'
import type { WorkerDeps } from '../../../services/mail/sync/worker-deps.ts'

/** The same interval, however quiet the mailbox is. */
export const steady = (intervalMs: number): Pace => ({ intervalMs, intervalMaxMs: intervalMs })

/** Walked to its end once: nothing has to be proven. */
export const PROVEN: Audit = { ...NO_AUDIT, provenMs: 1 }

export type PlainDeps = Pick<
  WorkerDeps,
  'auditSubject' | 'limiter' | 'tokens' | 'slot' | 'sharers' | 'bind' | 'refused' | 'reauth' | 'projectThrottled'
>

export const plainWorker = (clock: Clock): PlainDeps => ({
  limiter: new MailboxLimiter([new TokenBucket(1_000, 1, clock)], { start: 8, max: 8 }, clock),
  tokens: { accessToken: async () => new Secret('token') },
  slot: 0,
  sharers: () => 1,
  bind: async () => true,
  refused: () => undefined,
  reauth: async () => undefined,
  auditSubject: async () => ({ cursor: null, settle: () => [] }),
  projectThrottled: () => undefined,
})
