/** What every scene of the demo has at hand, and the one way in which it waits. */
import { until } from '../support/until.ts'
import type { Board } from './board.ts'
import type { Events } from './events.ts'
import { PartError } from './part.ts'
import type { System } from './system.ts'
import type { View } from './view.ts'
import type { Person, World } from './world.ts'

const STEP_DEADLINE_MS = 120_000
export const TICK_MS = 100

export type Stage = {
  /** When the demo began, by performance.now(). */
  startedMs: number
  system: System
  world: World
  people: readonly Person[]
  events: Events
  board: Board
  view: View
  signal: AbortSignal
}

export const count = (n: number): string => n.toLocaleString('en-US')
export const secondsSince = (startedMs: number): string => ((performance.now() - startedMs) / 1000).toFixed(1)

/** Waits for a fact. @throws PartError with the last lines of the instances; the reason of the signal. */
export async function step<T>(
  { signal, system }: Stage,
  what: string,
  fact: () => Promise<T | null | false>,
): Promise<T> {
  try {
    return await until(what, fact, { timeoutMs: STEP_DEADLINE_MS, everyMs: TICK_MS, signal })
  } catch (cause) {
    signal.throwIfAborted()
    throw new PartError(system.blamed, cause)
  }
}
