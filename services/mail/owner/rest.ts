/** A user that is owned and for whom nothing is done yet: until its time has come, or somebody wants more of it before. */
import type { AccountState } from '#shared/contract.ts'
import { type Clock, endsWithin, pause } from '../base/time.ts'
import type { StartTime } from './start-time.ts'

const AWAKE: unknown = new Error('awake')

export class Rest {
  readonly #clock: Clock
  readonly #waking = new AbortController()
  readonly #started = Promise.withResolvers<void>()
  #known: AccountState[] = []
  #dueMs: number | null = null
  #stage: 'resting' | 'due' | 'over' = 'resting'

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @param due called once, when the user is to be started */
  begin({ dueMs, restMs, known }: StartTime, due: () => void): void {
    this.#known = known
    this.#dueMs = dueMs
    void pause(this.#clock, restMs, this.#waking.signal).then(() => {
      if (this.#stage !== 'resting') return
      this.#stage = 'due'
      due()
    })
  }

  /** When the user is to be polled, or was to be, epoch ms; null before that was looked up. */
  get dueMs(): number | null {
    return this.#dueMs
  }
  /** Nobody wants more for the user than the poll that it waits for. */
  get isQuiet(): boolean {
    return this.#stage === 'resting' && this.#dueMs !== null
  }
  get isDue(): boolean {
    return this.#stage === 'due'
  }
  /** Empty when nothing is known, or when the user was started. */
  get known(): readonly AccountState[] {
    return this.#stage === 'over' ? [] : this.#known
  }

  wake(): void {
    this.#waking.abort(AWAKE)
  }
  /** The user is being started, or will not be. */
  end(): void {
    this.#stage = 'over'
    this.wake()
  }
  /** The start has come to its end. */
  settled(): void {
    this.#started.resolve()
  }
  /** Wakes the user and waits until it was started, but not longer than `ms`. */
  async awake(ms: number): Promise<void> {
    this.wake()
    await endsWithin(this.#clock, ms, this.#started.promise)
  }
}
