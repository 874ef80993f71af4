/**
 * Waiting for a fact instead of sleeping. Owns the deadline and the message that names what did not come true.
 * Refuses to be a clock: what is waited for must be observable.
 */
import { setTimeout as sleep } from 'node:timers/promises'

export type UntilOptions = {
  /** Deadline of the whole wait. */
  timeoutMs?: number
  /** Pause between two looks. */
  everyMs?: number
  signal?: AbortSignal
}

/** On a cluster whose nodes are killed (CLUSTER=3) each may be without a leader for ten seconds, again and again. */
const PATIENCE = process.env.CLUSTER ? 4 : 1

const NOT_YET = Symbol('not yet')

/**
 * Asks `fact` again and again until it answers something other than undefined, null or false, and returns that.
 * A fact that throws counts as "not yet" (a server that still refuses connections); its last error is the cause.
 * @throws Error naming `description` when the deadline passes; the signal's reason when it is aborted.
 */
export async function until<T>(
  description: string,
  fact: () => T | undefined | null | false | Promise<T | undefined | null | false>,
  { timeoutMs = 20_000, everyMs = 20, signal }: UntilOptions = {},
): Promise<T> {
  const timers = new AbortController()
  const patienceMs = timeoutMs * PATIENCE
  const deadline = sleep(patienceMs, NOT_YET, { signal: timers.signal }).catch(() => NOT_YET)
  const stopAt = performance.now() + patienceMs
  let last: unknown
  let cause: unknown
  try {
    do {
      signal?.throwIfAborted()
      try {
        // A fact that never answers must not outlive the deadline.
        const answer = await Promise.race([fact(), deadline])
        if (answer === NOT_YET) break
        // Whoever has given up does nothing with what comes true meanwhile.
        signal?.throwIfAborted()
        if (answer !== undefined && answer !== null && answer !== false) return answer as T
        last = answer
        cause = undefined
      } catch (error) {
        signal?.throwIfAborted()
        cause = error
      }
      await sleep(everyMs, undefined, signal === undefined ? {} : { signal }).catch(() => signal?.throwIfAborted())
    } while (performance.now() < stopAt)
  } finally {
    timers.abort()
  }
  const seen = cause === undefined ? `last answer: ${String(last)}` : `last error: ${String(cause)}`
  throw new Error(`not true within ${patienceMs} ms: ${description} (${seen})`, { cause })
}

/** Asks again while NATS does not answer, as when a cluster elects a leader; null and undefined are answers. */
export async function answered<T>(ask: () => Promise<T>): Promise<T> {
  return (await until('NATS answers', async () => ({ answer: await ask() }))).answer
}
