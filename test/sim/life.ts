/**
 * Whether a simulated process runs, stands still or is gone. Every effect of it passes here: at a chosen one it dies, and
 * from then on nothing of it has any effect, and nothing that it waits for ever comes.
 */
export class Gone extends Error {
  override readonly name = 'Gone'
}

/** What who is gone waits for. */
export const never = <T>(): Promise<T> => new Promise(() => undefined)

export class Life {
  #state: 'up' | 'frozen' | 'dead' = 'up'
  #effects = 0
  #dieAt: number | null = null
  readonly #waiting: (() => void)[] = []
  /** Called once, when it dies. */
  onDeath: () => void = () => undefined

  get isDead(): boolean {
    return this.#state === 'dead'
  }

  /** It dies at the effect that many effects from now. */
  dieIn(effects: number): void {
    this.#dieAt = this.#effects + effects
  }

  die(): void {
    if (this.#state === 'dead') return
    this.#state = 'dead'
    this.#waiting.length = 0
    this.onDeath()
  }

  freeze(): void {
    if (this.#state === 'up') this.#state = 'frozen'
  }

  thaw(): void {
    if (this.#state !== 'frozen') return
    this.#state = 'up'
    for (const go of this.#waiting.splice(0)) go()
  }

  /** An effect is about to happen, or has just happened. False when there is nobody left to see what follows. */
  passes(): boolean {
    if (this.#state === 'dead') return false
    this.#effects += 1
    if (this.#dieAt === null || this.#effects < this.#dieAt) return true
    this.die()
    return false
  }

  /** As `passes`, for what answers at once. @throws Gone */
  effect(): void {
    if (!this.passes()) throw new Gone('the process is gone')
  }

  /** Something comes from outside: at once, when the process goes on, or never. */
  enter(go: () => void): void {
    if (this.#state === 'up') go()
    else if (this.#state === 'frozen') this.#waiting.push(go)
  }
}
