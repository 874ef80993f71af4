/**
 * How long an instance that is told to stop goes on waiting for NATS. After that it closes the connection, which ends
 * every request that a server that hangs keeps waiting. It does not decide what a stop consists of.
 */
import type { Log } from '#shared/log.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { type Clock, pause } from '../base/time.ts'

export class Patience implements Disposable {
  /** From the signal on. None at first: while an instance starts there is nothing to hand over. */
  afterStopMs = 0
  readonly #nc: NatsConnection
  readonly #clock: Clock
  readonly #log: Log
  readonly #over = new AbortController()

  constructor(nc: NatsConnection, clock: Clock, log: Log, stop: AbortSignal) {
    this.#nc = nc
    this.#clock = clock
    this.#log = log
    const onStop = (): void => void this.#end()
    if (stop.aborted) onStop()
    else stop.addEventListener('abort', onStop, { once: true, signal: this.#over.signal })
  }

  [Symbol.dispose](): void {
    this.#over.abort(new Error('the connection is closed'))
  }

  async #end(): Promise<void> {
    if (this.afterStopMs > 0) await pause(this.#clock, this.afterStopMs, this.#over.signal)
    if (this.#over.signal.aborted) return
    await this.#nc.close().catch((error) => this.#log.debug({ err: error }, 'NATS connection could not be closed'))
  }
}
