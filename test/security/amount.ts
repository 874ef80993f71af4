/**
 * How much a test tries. AMOUNT says it, and this is the one place that reads it: nothing is `make test`, `asked` is `make test-security`, what
 * acceptance asks for; `1` is FULL=1, and a larger number how often a fuzz test asks.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'

const MILLION = 1_000_000
const CHUNK = 500
const SEED = Number(process.env.SEED || '0')
const AMOUNT = process.env.AMOUNT || 'short'
if (!/^(?:short|asked|[1-9]\d*)$/.test(AMOUNT)) throw new Error(`AMOUNT is asked or a number, not ${AMOUNT}`)

export const amount = (short: number, asked: number, full: number): number =>
  AMOUNT === 'short' ? short : AMOUNT === 'asked' ? asked : full

/** The same of random cases: a million in full, or as many as AMOUNT says. */
export const cases = (short: number, asked: number): number =>
  Number(AMOUNT) > 1 ? Number(AMOUNT) : amount(short, asked, MILLION)

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
