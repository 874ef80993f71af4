/** A part of the composition that is loaded after the endpoints answer, for those who are made before it. */
export class Late<T> {
  readonly #arrival = Promise.withResolvers<T>()
  #part: T | null = null

  constructor() {
    // Whoever loads it says why it could not be; those who wait for it are told as well.
    this.#arrival.promise.catch(() => undefined)
  }

  /** Null until it has arrived. */
  get now(): T | null {
    return this.#part
  }
  /** Rejects when it does not arrive. */
  get arrived(): Promise<T> {
    return this.#arrival.promise
  }
  /** At once, or when it arrives. */
  use(work: (part: T) => void): void {
    if (this.#part === null) this.#arrival.promise.then(work, () => undefined)
    else work(this.#part)
  }
  arrive(part: T): void {
    this.#part = part
    this.#arrival.resolve(part)
  }
  /** It will not arrive. */
  fail(error: unknown): void {
    this.#arrival.reject(error)
  }
}
