/** What V8 is told of its heap when all is loaded. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Garbage that may gather before all of the heap is collected, in percent of what was in use the last time. */
const GROWING_PERCENT = 40

/**
 * Not as flags of the start, nor in the midst of it: compiled code is refused under other flags than those that it was made
 * under, and Node's own, which comes with it, was made under none (ADR 0052).
 */
export function settleHeap(): void {
  // V8 foresees no more which places in the program make what lives long (ADR 0051).
  setFlagsFromString('--no-allocation-site-pretenuring')
  setFlagsFromString(`--heap-growing-percent=${GROWING_PERCENT}`)
  // The share counts from the first collection on, which V8 by itself leaves until a hundred thousand mails are stored (ADR 0053).
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  collect()
}
