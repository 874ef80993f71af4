/** Tasks that run beside the main one and end with it: after everything that reads what they keep has stopped. */
export class Background implements AsyncDisposable {
  readonly #stop = new AbortController()
  readonly #tasks = new Set<Promise<void>>()

  /** Aborts later than the signal that begins the stop. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }
  run(task: Promise<void>): void {
    this.#tasks.add(task)
    const forget = (): void => void this.#tasks.delete(task)
    task.then(forget, forget)
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('stopped'))
    await Promise.allSettled(this.#tasks)
  }
}
