/**
 * Turns of the event loop for work that holds it for milliseconds. Whatever waits for I/O, a status above all, is looked at
 * between two of them; without turns one answer leads from a transaction to the next without end.
 */
import { setImmediate as nextRound } from 'node:timers/promises'

/** Bound: one for each lane that runs and each relay. */
let last: Promise<void> = Promise.resolve()

/** Resolves when it is the caller's turn, in the order of the calls, in each round of the loop one. */
export function loopTurn(): Promise<void> {
  last = last.then(() => nextRound())
  return last
}
