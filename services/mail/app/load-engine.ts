/**
 * Loads what does the users' work, in parts: a part holds up the requests that come meanwhile for as long as it is read.
 * The only place that knows what is loaded after the endpoints answer (ADR 0037).
 */
import { setImmediate as yieldTurn } from 'node:timers/promises'
import { ExitError } from '#shared/lifecycle.ts'

/** Each is larger than those before it by what nobody has loaded yet. */
const PARTS: readonly (() => Promise<unknown>)[] = [
  () => import('../base/telemetry.ts'),
  () => import('#shared/jose.ts').then(({ jose }) => jose()),
  () => import('../base/http.ts').then(({ loadUndici }) => loadUndici()),
  () => import('../store/query-builder.ts').then(({ loadDrizzle }) => loadDrizzle('drizzle-orm')),
  () => import('../store/user-store.ts'),
  () => import('./providers.ts'),
  () => import('../owner/supervisor.ts'),
]

/** @throws ExitError 1 when something is not there or cannot be loaded, or the reason of `stop` */
export async function loadEngine(stop: AbortSignal): Promise<typeof import('./engine.ts')> {
  try {
    for (const load of PARTS) {
      await load()
      await yieldTurn()
      stop.throwIfAborted()
    }
    return await import('./engine.ts')
  } catch (cause) {
    stop.throwIfAborted()
    const what = cause instanceof Error ? cause.message : String(cause)
    throw new ExitError(1, `the program cannot be loaded: ${what}; is the installation whole? (npm ci)`, { cause })
  }
}
