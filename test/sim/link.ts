/**
 * What lies between a process and the broker: each request takes its time, and may get lost on the way there or back. A
 * link that is cut loses everything, one that holds delivers late what it was given meanwhile. When the server goes down
 * the connection ends with all that is under way, and the client says when it has a new one.
 */
import { TimeoutError } from '#shared/nats.ts'
import type { Chance } from './chance.ts'
import { type Life, never } from './life.ts'
import type { Timeline } from './timeline.ts'

const TIMEOUT_MS = 2_000
const DELAY_MAX_MS = 8

export type LinkState = 'open' | 'cut' | 'deaf' | 'holding'

export class Link {
  #state: LinkState = 'open'
  /** Of requests, and of answers: part that gets lost. */
  loss = 0
  readonly #held: (() => void)[] = []
  readonly #opened = new Set<() => void>()
  readonly #timeline: Timeline
  readonly #chance: Chance
  readonly #life: Life
  /** Nothing overtakes what was sent before it: it is one connection. */
  #thereMs = 0
  #backMs = 0
  #isDown = false
  /** Counts connections. */
  #connection = 0
  #isBack = false
  #tellBack: () => void = () => undefined

  constructor(timeline: Timeline, chance: Chance, life: Life) {
    this.#timeline = timeline
    this.#chance = chance
    this.#life = life
  }

  /** cut: nothing gets through · deaf: what it sends arrives, no answer does · holding: both are late. */
  set(state: LinkState): void {
    this.#state = state
    this.#opens()
  }

  /** The server is gone. */
  drop(): void {
    this.#isDown = true
    this.#connection += 1
    this.#held.length = 0
  }
  /** It is there again. */
  restore(): void {
    this.#isDown = false
    this.#isBack = true
    this.#opens()
  }
  /** Resolves at the next connection that follows a lost one. */
  reconnected(): Promise<void> {
    return new Promise((resolve) => {
      this.#tellBack = resolve
    })
  }

  #opens(): void {
    if (this.#isDown || this.#state !== 'open') return
    for (const go of this.#held.splice(0)) go()
    for (const tell of this.#opened) tell()
    if (this.#isBack) this.#life.enter(this.#tellBack)
    this.#isBack = false
  }

  get connection(): string {
    return String(this.#connection)
  }

  get #isCut(): boolean {
    return this.#isDown || this.#state === 'cut'
  }

  /** Does it at the broker and answers what came of it. @throws what the broker throws; TimeoutError when no answer comes */
  request<T>(work: () => T, timeoutMs = TIMEOUT_MS): Promise<T> {
    if (!this.#life.passes()) return never()
    return new Promise((resolve, reject) => {
      let isOver = false
      const timeOut = this.#timeline.after(timeoutMs, () =>
        this.#life.enter(() => {
          if (isOver) return
          isOver = true
          reject(new TimeoutError())
        }),
      )
      const answer = (settle: () => void): void => {
        if (this.#state === 'deaf' || this.#chance.is(this.loss)) return
        this.#deliver('back', () =>
          this.#life.enter(() => {
            if (isOver) return
            isOver = true
            timeOut()
            settle()
          }),
        )
      }
      if (this.#isCut || this.#chance.is(this.loss)) return
      this.#deliver('there', () => {
        try {
          const result = work()
          answer(() => resolve(result))
        } catch (error) {
          answer(() => reject(error))
        }
      })
    })
  }

  /** As `request`, for what nobody answers. */
  send(work: () => void): void {
    if (!this.#life.passes() || this.#isCut || this.#chance.is(this.loss)) return
    this.#deliver('there', work)
  }

  /** What the broker sends by itself. False when it cannot now: it is told again when the link is open. */
  push(receive: () => void): boolean {
    if (this.#state === 'deaf' || this.#isCut) return false
    this.#deliver('back', () => this.#life.enter(receive))
    return true
  }

  /** Called whenever the link is open again; the answer ends that. */
  whenOpen(tell: () => void): () => void {
    this.#opened.add(tell)
    return () => this.#opened.delete(tell)
  }

  #deliver(way: 'there' | 'back', arrive: () => void): void {
    if (this.#isCut) return
    if (this.#state === 'holding') {
      this.#held.push(() => this.#deliver(way, arrive))
      return
    }
    const atMs = this.#timeline.nowMs + this.#chance.unit() * DELAY_MAX_MS
    const dueMs = Math.max(atMs, way === 'there' ? this.#thereMs : this.#backMs)
    if (way === 'there') this.#thereMs = dueMs
    else this.#backMs = dueMs
    const connection = this.#connection
    this.#timeline.after(dueMs - this.#timeline.nowMs, () => {
      if (connection === this.#connection) arrive()
    })
  }
}
