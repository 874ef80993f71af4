/** The simulation itself: it is the same each time, it finds nothing in the service, and each protection that is off. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Gone } from './life.ts'
import { MUTANTS, type Mutant } from './mutants.ts'
import { play } from './play.ts'
import { plotOf } from './plot.ts'
import { shrink } from './shrink.ts'

const SEEDS = 100
/** Seeds that failed when this was written, so that none has to be looked for; others will do. */
const HINTS: Record<Mutant, number> = { expect: 1, readback: 1, early: 1, cursor: 1, compare: 1, cas: 1 }
const CAUGHT_WITHIN = 500

async function firstBad(
  mutant: Mutant | null,
  from: number,
  seeds: number,
): Promise<{ seed: number; faults: string[] } | null> {
  for (let seed = from; seed < from + seeds; seed++) {
    const { faults } = await play(seed, plotOf(seed), mutant)
    if (faults.length > 0) return { seed, faults }
  }
  return null
}

describe('the simulation', () => {
  const ignoreGone = (reason: unknown): void => {
    if (!(reason instanceof Gone)) throw reason
  }
  before(() => process.on('unhandledRejection', ignoreGone))
  after(() => process.off('unhandledRejection', ignoreGone))

  test(`${SEEDS} seeds: nothing is lost, twice or stuck, and no position passes unfinished work`, async () => {
    assert.equal(await firstBad(null, 1, SEEDS), null)
  })

  test('a seed is the same run each time', async () => {
    const [first, again] = [await play(7, plotOf(7), null), await play(7, plotOf(7), null)]
    assert.deepEqual(again, first)
    assert.ok(first.trace.length > 0)
  })

  for (const mutant of MUTANTS)
    test(`control: without ${mutant} a seed fails, and is cut down to what it needs`, async () => {
      const bad = await firstBad(mutant, HINTS[mutant], CAUGHT_WITHIN)
      assert.ok(bad !== null, `nothing failed in ${CAUGHT_WITHIN} seeds`)
      const plot = plotOf(bad.seed)
      const least = await shrink(bad.seed, plot, mutant)
      assert.ok(least.acts.length <= plot.acts.length)
      assert.notDeepEqual((await play(bad.seed, least, mutant)).faults, [])
      assert.deepEqual((await play(bad.seed, plot, null)).faults, [], 'with the protection on it is well')
    })
})
