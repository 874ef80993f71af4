/**
 * A user that is owned and for whom nothing is done yet: until its time has come, or somebody wants more of it before. When
 * all there is to do is a poll, and that finds nothing, the user rests until the next one.
 */
import type { AccountState } from '#shared/contract.ts'
import { type Clock, endsWithin, pause } from '../base/time.ts'
import type { PollTurn } from './moves.ts'
import type { RestPoll } from './rest-poll.ts'
import type { StartTime } from './start-time.ts'

const AWAKE: unknown = new Error('awake')

export class Rest {
  readonly #clock: Clock
  readonly #poll: Pick<RestPoll, 'ask' | 'isAsKnown'>
  readonly #waking = new AbortController()
  readonly #started = Promise.withResolvers<void>()
  #known: AccountState[] = []
  #dueMs: number | null = null
  #stage: 'resting' | 'due' | 'over' = 'resting'

  constructor(clock: Clock, poll: Pick<RestPoll, 'ask' | 'isAsKnown'>) {
    this.#clock = clock
    this.#poll = poll
  }

  /** @param due called once, when the user is to be started */
  begin({ dueMs, restMs, isQuiet, known }: StartTime, turn: PollTurn, due: () => void): void {
    this.#known = known
    this.#dueMs = dueMs
    void this.#rest(restMs, isQuiet ? turn : null).then(() => {
      if (this.#stage !== 'resting') return
      this.#stage = 'due'
      due()
    })
  }

  async #rest(restMs: number, turn: PollTurn | null): Promise<void> {
    const { signal } = this.#waking
    for (let waitMs = restMs; ; ) {
      await pause(this.#clock, waitMs, signal)
      const dueMs = this.#dueMs
      if (signal.aborted || turn === null || dueMs === null) return
      const ask = async (): Promise<number | null> => (signal.aborted ? null : await this.#poll.ask(dueMs, signal))
      // What it throws is that somebody has woken the user.
      const nextMs = await turn(ask, dueMs, signal).catch(() => null)
      if (nextMs === null || signal.aborted) return
      this.#dueMs = nextMs
      waitMs = Math.max(0, nextMs - this.#clock.wallMs())
    }
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
  /** The accounts of the user are not what they were. */
  changed(): void {
    if (!this.#poll.isAsKnown) this.wake()
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
