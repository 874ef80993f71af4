/** The simulation itself: it is the same each time, it finds nothing in the service, and each protection that is off. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { EVENT_STREAM } from '#shared/subjects.ts'
import { storeNew } from '../../services/mail/store/messages.ts'
import { dueRows } from '../../services/mail/store/outbox-rows.ts'
import { UserStore } from '../../services/mail/store/user-store.ts'
import { log } from '../mail/kv/support.ts'
import { ACCOUNT, mails } from '../mail/store/support.ts'
import { FOUND } from './found.ts'
import { Gone } from './life.ts'
import { MUTANTS, type Mutant } from './mutants.ts'
import { play } from './play.ts'
import { plotOf } from './plot.ts'
import { shrink } from './shrink.ts'
import { World } from './world.ts'

const SEEDS = 40
/** Seeds that failed when this was written, so that none has to be looked for; others will do. */
const HINTS: Record<Mutant, number> = {
  expect: 307,
  batch: 918,
  readback: 1,
  early: 28,
  cursor: 1,
  compare: 791,
  cas: 165,
}
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

  test('events go in batches where the server knows them, and none where it does not', async () => {
    const { tally } = await play(7, { ...plotOf(7), takesBatches: true }, null)
    assert.ok(tally.batched > 0)
    assert.equal((await play(7, { ...plotOf(7), takesBatches: false }, null)).tally.batched, 0)
  })

  test('a seed is the same run each time', async () => {
    const [first, again] = [await play(7, plotOf(7), null), await play(7, plotOf(7), null)]
    assert.deepEqual(again, first)
    assert.ok(first.trace.length > 0)
  })

  for (const { what, seed, plot } of FOUND)
    test(`found once: ${what}`, async () => {
      const { faults, tally } = await play(seed, plot, null)
      assert.deepEqual(faults, [])
      const falls = plot.acts.some((act) => act.do === 'fall')
      assert.equal(tally.taken > 0, falls, 'the stream goes back where the plot says so')
      assert.ok(tally.events > 0)
    })

  test('control: mails that stand in another order than one disk has stored them are found', () => {
    using world = new World(1, null)
    const store = new UserStore({ dataDir: `${world.dir}/a`, log })
    const epoch = { era: 1, rev: 1 }
    store.adopt('ada', epoch)
    store.commit('ada', epoch, (tx) => storeNew(tx, { ...ACCOUNT, userId: 'ada' }, mails('m', 3), 1))
    const rows = store.read('ada', (db) => {
      world.books.written('a0', 'ada', db)
      return dueRows(db, 3)
    })
    const [first, second, third] = rows
    assert.ok(first && second && third)
    const stream = world.broker.stream(EVENT_STREAM)
    for (const { subject, payload } of [first, third, second]) stream.publish(subject, payload, { by: 'a0' })
    store.release('ada')
    assert.deepEqual(world.books.outOfOrder('ada'), [['m0002', 'm0001']])
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
