/**
 * A user that is owned and for whom nothing is done yet: until its time has come, or somebody wants more of it before. When
 * all there is to do is a poll, and that finds nothing, the user rests until the next one.
 */
import type { AccountState } from '#shared/contract.ts'
import type { Alarm } from '../base/alarms.ts'
import { type Clock, endsWithin } from '../base/time.ts'
import type { Poller, PollTurns } from './poll-turns.ts'
import type { RestPoll } from './rest-poll.ts'
import type { StartTime } from './start-time.ts'

/** Who starts the user. */
export type Starter = {
  /** Called once, when the user is to be started. */
  due(): void
}

const AWAKE: unknown = new Error('awake')
const NONE: readonly AccountState[] = []

export class Rest implements Alarm, Poller {
  readonly #clock: Clock
  readonly #poll: Pick<RestPoll, 'ask' | 'isAsKnown'>
  #turns: PollTurns | null = null
  #starter: Starter | null = null
  /** What is due is a poll. */
  #isPoll = false
  #known: readonly AccountState[] = NONE
  #dueMs: number | null = null
  #atMs = 0
  #stage: 'resting' | 'due' | 'over' = 'resting'
  #isAwake = false
  #isSettled = false
  /** Of the poll that is under way. Most of the time there is none, and nobody waits. */
  #polling: AbortController | null = null
  #started: PromiseWithResolvers<void> | null = null

  constructor(clock: Clock, poll: Pick<RestPoll, 'ask' | 'isAsKnown'>) {
    this.#clock = clock
    this.#poll = poll
  }

  begin({ dueMs, restMs, isQuiet, known }: StartTime, turns: PollTurns, starter: Starter): void {
    this.#known = known
    this.#dueMs = dueMs
    this.#isPoll = isQuiet
    this.#turns = turns
    this.#starter = starter
    if (this.#isAwake) this.#isOver()
    else this.#sleep(restMs)
  }

  #sleep(ms: number): void {
    this.#atMs = this.#clock.monoMs() + ms
    this.#turns?.alarms.set(this)
  }

  get atMs(): number {
    return this.#atMs
  }
  ring(): void {
    if (this.#isAwake) return
    if (this.#isPoll) this.#turns?.take(this)
    else this.#isOver()
  }

  async poll(): Promise<void> {
    const dueMs = this.#dueMs
    if (this.#isAwake || dueMs === null) return
    const polling = new AbortController()
    this.#polling = polling
    // What it throws is that somebody has woken the user.
    const nextMs = await this.#poll.ask(dueMs, polling.signal).catch(() => null)
    this.#polling = null
    if (this.#isAwake) return
    if (nextMs === null) return this.#isOver()
    this.#dueMs = nextMs
    this.#sleep(Math.max(0, nextMs - this.#clock.wallMs()))
  }

  #isOver(): void {
    this.#isAwake = true
    if (this.#stage !== 'resting' || this.#starter === null) return
    this.#stage = 'due'
    this.#starter.due()
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
    return this.#stage === 'over' ? NONE : this.#known
  }

  wake(): void {
    if (this.#isAwake) return
    this.#isOver()
    this.#polling?.abort(AWAKE)
  }
  /** The accounts of the user are not what they were. */
  changed(): void {
    if (!this.#isAwake && !this.#poll.isAsKnown) this.wake()
  }
  /** The user is being started, or will not be. */
  end(): void {
    this.#stage = 'over'
    this.wake()
  }
  /** The start has come to its end. */
  settled(): void {
    this.#isSettled = true
    this.#started?.resolve()
  }
  /** Wakes the user and waits until it was started, but not longer than `ms`. */
  async awake(ms: number): Promise<void> {
    this.wake()
    if (this.#isSettled) return
    this.#started ??= Promise.withResolvers()
    await endsWithin(this.#clock, ms, this.#started.promise)
  }
}
