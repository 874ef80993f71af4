/** What V8 is told when all is loaded. */
import { setFlagsFromString } from 'node:v8'

/**
 * V8 foresees no more which places in the program make what lives long (ADR 0051). Not as a flag of the start, nor in the midst of
 * it: compiled code is refused under other flags than those that it was made under, and Node's own, which comes with it, was made under none.
 */
export const endPretenuring = (): void => setFlagsFromString('--no-allocation-site-pretenuring')
