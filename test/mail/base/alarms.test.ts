/** One timer for many who wait: each is woken at its moment, once, in the order of the moments. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Alarms } from '../../../services/mail/base/alarms.ts'
import { fc } from '../../support/fast-check.ts'
import { ManualClock } from './manual-clock.ts'

test('everybody is woken at its moment, in the order of the moments, by one timer', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 500 }), { maxLength: 60 }), async (moments) => {
      const clock = new ManualClock()
      const alarms = new Alarms(clock)
      const rung: { atMs: number; nowMs: number }[] = []
      for (const atMs of moments) alarms.set({ atMs, ring: () => rung.push({ atMs, nowMs: clock.monoMs() }) })
      assert.ok(clock.sleeping <= 1)
      await clock.advance(500)
      assert.deepEqual(
        rung.map(({ atMs }) => atMs),
        moments.toSorted((a, b) => a - b),
      )
      for (const { atMs, nowMs } of rung) assert.ok(nowMs - atMs <= 0 && atMs - nowMs <= 1, `${atMs}: ${nowMs}`)
      assert.equal(clock.sleeping, 0, 'nothing keeps the process alive')
    }),
    { numRuns: 50 },
  )
})

test('an earlier one does not wait for a later one, and whoever is woken may wait again', async () => {
  const clock = new ManualClock()
  const alarms = new Alarms(clock)
  const rung: string[] = []
  alarms.set({ atMs: 1_000, ring: () => rung.push('late') })
  await clock.advance(100)
  const again = { atMs: 900, ring: () => rung.push('again') }
  alarms.set({
    atMs: 200,
    ring() {
      rung.push('early')
      alarms.set(again)
    },
  })
  await clock.advance(100)
  assert.deepEqual(rung, ['early'])
  await clock.advance(800)
  assert.deepEqual(rung, ['early', 'again', 'late'])
})

test('once closed nobody is woken, and no timer runs', async () => {
  const clock = new ManualClock()
  const alarms = new Alarms(clock)
  let isRung = false
  const ring = (): void => {
    isRung = true
  }
  alarms.set({ atMs: 100, ring })
  alarms.close()
  alarms.set({ atMs: 100, ring })
  await clock.advance(1_000)
  assert.deepEqual([isRung, clock.sleeping], [false, 0])
})
