/** Virtual time: what is due next happens next, with all that follows from it. Nothing of it depends on the machine. */
import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../services/mail/base/time.ts'
import { type Life, never } from './life.ts'

const START_WALL_MS = 1_700_000_000_000
/** Turns of the event loop after each event: code that yields goes on in the next one. */
const TURNS = 3

type Entry = { atMs: number; order: number; run: () => void }

export class Timeline {
  #nowMs = 0
  #order = 0
  readonly #entries: Entry[] = []

  get nowMs(): number {
    return this.#nowMs
  }

  /** Runs it after `ms`; the answer takes it back. */
  after(ms: number, run: () => void): () => void {
    const entry = { atMs: this.#nowMs + Math.max(0, ms), order: this.#order++, run }
    let at = this.#entries.length
    while (at > 0 && isLater(this.#entries[at - 1] as Entry, entry)) at -= 1
    this.#entries.splice(at, 0, entry)
    return () => {
      const found = this.#entries.indexOf(entry)
      if (found >= 0) this.#entries.splice(found, 1)
    }
  }

  /** Lets time pass until `ms` from now, or until `isOver`. */
  async run(ms: number, isOver: () => boolean = () => false): Promise<void> {
    const endMs = this.#nowMs + ms
    await this.#settle()
    while (!isOver()) {
      const next = this.#entries[0]
      if (next === undefined || next.atMs > endMs) {
        this.#nowMs = endMs
        break
      }
      this.#entries.shift()
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.run()
      await this.#settle()
    }
  }

  async #settle(): Promise<void> {
    for (let i = 0; i < TURNS; i++) await turn()
  }
}

const isLater = (a: Entry, b: Entry): boolean => a.atMs > b.atMs || (a.atMs === b.atMs && a.order > b.order)

/** The clock of one process. While it stands still its sleeps do not end; when it is gone they never do. */
export function clockOf(timeline: Timeline, life: Life): Clock {
  return {
    wallMs: () => START_WALL_MS + timeline.nowMs,
    monoMs: () => timeline.nowMs,
    sleep(ms, signal) {
      if (!life.passes()) return never()
      return new Promise((resolve, reject) => {
        signal.throwIfAborted()
        const takeBack = timeline.after(ms, () =>
          life.enter(() => {
            signal.removeEventListener('abort', onAbort)
            resolve()
          }),
        )
        const onAbort = (): void => {
          takeBack()
          if (!life.isDead) reject(signal.reason)
        }
        signal.addEventListener('abort', onAbort, { once: true })
      })
    },
  }
}
