/** What a worker needs beside provider, store and clock, when nobody else shares its mailbox and nothing goes wrong. */
import { Secret } from '#shared/secret.ts'
import type { Clock } from '../../../services/mail/base/time.ts'
import { MailboxLimiter, TokenBucket } from '../../../services/mail/sync/limiter.ts'
import type { WorkerDeps } from '../../../services/mail/sync/worker-deps.ts'

export type PlainDeps = Pick<
  WorkerDeps,
  'limiter' | 'tokens' | 'slot' | 'sharers' | 'bind' | 'refused' | 'reauth' | 'projectThrottled'
>

export const plainWorker = (clock: Clock): PlainDeps => ({
  limiter: new MailboxLimiter([new TokenBucket(1_000, 1, clock)], { start: 8, max: 8 }, clock),
  tokens: { accessToken: async () => new Secret('token') },
  slot: 0,
  sharers: () => 1,
  bind: async () => true,
  refused: () => undefined,
  reauth: async () => undefined,
  projectThrottled: () => undefined,
})
