/**
 * The life of a process: start, wait for a signal, stop in order, leave with a code.
 * The first SIGINT or SIGTERM aborts the signal; the second one exits at once.
 */
import { constants } from 'node:os'
import type { Log } from './log.ts'

/** sysexits: configuration, and a service that is needed but not there. */
export const EXIT_CONFIG = 78
export const EXIT_UNAVAILABLE = 69
/** How long a process that has ended may wait for what it still has open. */
const LINGER_MS = 1_000

/** Of a process that a signal ends, as shells count it. */
export const exitCodeOf = (signal: NodeJS.Signals): number => 128 + constants.signals[signal]

/** Ends the process with one line instead of a stack trace: the operator has to act, a retry would not help. */
export class ExitError extends Error {
  override readonly name = 'ExitError'
  readonly exitCode: number
  constructor(exitCode: number, message: string, options: { cause?: unknown } = {}) {
    super(message, options)
    this.exitCode = exitCode
  }
}

/** Something that runs until its signal aborts; resolves after a clean stop, rejects only if unrecoverable. */
export type App = (signal: AbortSignal) => Promise<void>

/**
 * Runs an app as the process. Sets `process.exitCode`, and leaves what still has to be written the time to be written. A
 * library may hold the process for ever: the client of NATS keeps sockets on which a hung server never said a word.
 */
export async function run(log: Log, app: App): Promise<void> {
  process.umask(0o077)
  const stop = new AbortController()
  const onSignal = (name: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(exitCodeOf(name))
    log.info({ signal: name }, 'stopping; a second signal exits at once')
    stop.abort(new Error(`stopped by ${name}`))
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  try {
    await app(stop.signal)
    log.info('stopped')
  } catch (error) {
    if (error instanceof ExitError) {
      process.stderr.write(`${error.message}\n`)
      process.exitCode = error.exitCode
    } else if (stop.signal.aborted && comesFrom(error, stop.signal.reason)) {
      // Asked to stop while it was still starting: a wait of the start ended as it was told to.
      log.info('stopped')
    } else {
      log.fatal({ err: error }, 'failed')
      process.exitCode = 1
    }
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
    setTimeout(() => process.exit(), LINGER_MS).unref()
  }
}

const comesFrom = (error: unknown, reason: unknown): boolean =>
  error === reason || (error instanceof Error && error.cause !== undefined && comesFrom(error.cause, reason))

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
