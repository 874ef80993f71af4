/**
 * A program of the benchmark as a process of its own, so that its processor time is its own. It answers one request after
 * another, and ends with the process that started it, whatever that died of.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { killWithUs } from '../../support/kill-with-us.ts'

type Answer = { ok: unknown } | { failed: string }

export class Program implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown[]>

  constructor(file: string, env: NodeJS.ProcessEnv) {
    this.#child = fork(file, [], {
      env: { ...process.env, ...env },
      // Not those of a test runner.
      execArgv: [],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    killWithUs(this.#child)
    this.#exited = once(this.#child, 'exit')
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** @throws Error that the program answered, or that says that it is gone; the signal's reason */
  async ask<T>(request: object, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted()
    const answered = once(this.#child, 'message', { signal })
    const gone = this.#exited.then(([code]): never => {
      throw new Error(`the program ended with ${String(code)}`)
    })
    this.#child.send(request)
    const [answer] = (await Promise.race([answered, gone])) as [Answer]
    if ('failed' in answer) throw new Error(answer.failed)
    return answer.ok as T
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGKILL')
    await this.#exited
  }
}

/** In the program: answers each request by what `work` makes of it, until whoever asks is gone. */
export function answerRequests<Request>(work: (request: Request) => Promise<unknown>): void {
  process.on('disconnect', () => process.exit())
  // A ctrl-c at the terminal reaches every process; the one that asks decides.
  process.on('SIGINT', () => undefined)
  process.on('message', (request: Request) => {
    work(request).then(
      (ok) => process.send?.({ ok: ok ?? null } satisfies Answer),
      (error: unknown) =>
        process.send?.({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    )
  })
}
