/** How much a fuzz test asks: little by itself, a million with FULL=1, as many as it says with FULL=50000. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'

const MILLION = 1_000_000
const CHUNK = 500
const SEED = Number(process.env.SEED || '0')
const FULL = Number(process.env.FULL || '0')

export const amount = (short: number): number => (FULL === 0 ? short : FULL === 1 ? MILLION : FULL)

/** The same cases in every run of the same seed (SEED=…), in chunks: a million of them take no room. */
export function* chunks<T>(arbitrary: fc.Arbitrary<T>, count: number): Generator<T[]> {
  for (let at = 0; at < count; at += CHUNK)
    yield fc.sample(arbitrary, { numRuns: Math.min(CHUNK, count - at), seed: SEED + at })
}

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** What is reachable, in bytes. */
export function heapBytes(): number {
  gc()
  return process.memoryUsage().heapUsed
}
