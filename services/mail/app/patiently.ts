/**
 * What an instance does with NATS while it starts, repeated while JetStream does not answer: a cluster without a leader has
 * one within seconds, and a link that is lost comes back.
 */
import { EXIT_UNAVAILABLE, ExitError } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import { isNatsFault, PermissionViolationError } from '#shared/nats.ts'
import { type Clock, pause } from '../base/time.ts'

/** How long a server, or a cluster without a leader, may take to be what we need. */
export const PATIENCE_MS = 30_000
const RETRY_MS = 1_000

/** @throws ExitError 69 when it takes longer than 30 seconds; what is no fault of NATS; the signal's reason */
export async function patiently<T>(
  work: () => Promise<T>,
  { url, clock, log, signal }: { url: string; clock: Clock; log: Log; signal: AbortSignal },
): Promise<T> {
  for (const endsMs = clock.monoMs() + PATIENCE_MS; ; ) {
    try {
      return await work()
    } catch (error) {
      signal.throwIfAborted()
      if (!isNatsFault(error) || forbidden(error) !== null) throw error
      if (clock.monoMs() > endsMs)
        throw new ExitError(
          EXIT_UNAVAILABLE,
          `JetStream of NATS at ${url} does not answer: see that its servers run, most of them if it is a cluster`,
          { cause: error },
        )
      log.warn({ err: error }, 'JetStream does not answer yet; waiting')
      await pause(clock, RETRY_MS, signal)
      signal.throwIfAborted()
    }
  }
}

/** What the login may not do, in words of NATS; null when that is not what went wrong. */
export function forbidden(error: unknown): string | null {
  for (let at: unknown = error; at instanceof Error; at = at.cause)
    if (at instanceof PermissionViolationError) return `${at.operation} ${at.subject}`
  return null
}
