/**
 * The thread that answers requests, as the one that works sees it: it begins to load at once, answers from `start` on, and
 * asks here for what it cannot know itself.
 */
import type { Worker } from 'node:worker_threads'
import { aborted, ExitError } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import type { NatsLogin } from '#shared/nats-login.ts'
import { Secret } from '#shared/secret.ts'
import { startThread } from '../base/thread.ts'
import type { Calls, FromThread, PlainLogin, StartOptions, ThreadFault, ToThread } from '../control/calls.ts'
import { asAppError } from '../control/endpoint.ts'

type Call = Extract<FromThread, { kind: 'call' }>

export class ControlThread implements AsyncDisposable {
  /** Resolves with why it has ended by itself, or with null when it was told to. */
  readonly stopped: Promise<Error | null>
  readonly #thread: Worker
  readonly #log: Log
  readonly #answers = Promise.withResolvers<void>()
  #calls: Calls | null = null
  /** Ends the wait for requests that are still under way. */
  #impatient: Promise<unknown> = Promise.resolve()

  /** @param thread that runs control/thread.ts */
  constructor(log: Log, thread = startThread(new URL('../control/thread.ts', import.meta.url))) {
    this.#log = log
    this.#thread = thread
    const ended = Promise.withResolvers<Error | null>()
    this.stopped = ended.promise
    this.#thread.on('message', (message: FromThread) => {
      if (message.kind === 'call') void this.#answer(message)
      else if (message.kind === 'answers') this.#answers.resolve()
      else ended.resolve(errorOf(message.fault))
    })
    this.#thread.on('error', (error) => ended.resolve(error instanceof Error ? error : new Error(String(error))))
    this.#thread.on('exit', () => ended.resolve(new Error('the thread that answers requests ended')))
  }

  /** It waits for a server as long as the other connection does; what is wrong with it `start` and `stopped` tell. */
  connect(nats: NatsLogin, instance: string): void {
    this.#post({ kind: 'connect', options: { nats: plain(nats), instance, logLevel: this.#log.level } })
  }

  /**
   * Resolves when requests are answered; `connect` comes before.
   * @param impatient resolves when nobody waits for answers any more
   * @throws why it cannot be started; the reason of the signal
   */
  async start(options: StartOptions, calls: Calls, impatient: Promise<unknown>, signal: AbortSignal): Promise<void> {
    this.#calls = calls
    this.#impatient = impatient
    this.#post({ kind: 'start', options })
    const ended = this.stopped.then((error) => {
      throw error ?? new Error('stopped')
    })
    await Promise.race([this.#answers.promise, ended, aborted(signal)])
    signal.throwIfAborted()
  }

  /** Takes no more requests and answers those in flight, unless nobody is patient any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#post({ kind: 'stop' })
    await Promise.race([this.stopped, this.#impatient])
    await this.#thread.terminate()
  }

  async #answer({ id, name, args }: Call): Promise<void> {
    try {
      const handle = this.#calls?.[name]
      if (handle === undefined) throw new Error('called before it was started')
      // The thread has checked what it passes on.
      const value = await (handle as (...of: unknown[]) => Promise<unknown>)(...args)
      this.#post({ kind: 'result', id, value })
    } catch (error) {
      const { code, details } = asAppError(error)
      if (code === 'INTERNAL') this.#log.error({ err: error, call: name }, 'request failed')
      this.#post({ kind: 'fault', id, code, details })
    }
  }

  #post(message: ToThread): void {
    this.#thread.postMessage(message)
  }
}

const errorOf = (fault: ThreadFault | null): Error | null => {
  if (fault === null) return null
  return fault.exitCode === null ? new Error(fault.message) : new ExitError(fault.exitCode, fault.message)
}

function plain({ url, user, password, creds, seed, tls }: NatsLogin): PlainLogin {
  const shown = password instanceof Secret ? password.reveal() : password
  return { url, user, password: shown, creds, seed: seed?.reveal(), tls }
}
