/** Waits that end when the run is stopped, whatever it is that they wait for. */
import type { InstanceProcess } from '../../support/instance.ts'

const END_DEADLINE_MS = 30_000

/** What the work answers. It is not waited for any longer once the run is stopped. @throws what the work throws; the signal's reason */
export async function orStopped<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const stopped = Promise.withResolvers<never>()
  const stop = (): void => stopped.reject(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  try {
    return await Promise.race([stopped.promise, work])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** Ends an instance in order. Its stage kills one that does not end. @throws Error when it takes too long; the signal's reason */
export async function ended(instance: InstanceProcess, signal: AbortSignal): Promise<void> {
  await orStopped(instance.kill('SIGTERM'), AbortSignal.any([signal, AbortSignal.timeout(END_DEADLINE_MS)]))
}
