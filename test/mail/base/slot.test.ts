import assert from 'node:assert/strict'
import { test } from 'node:test'
import { intervalAt, longestIntervalMs, nextPollMs, type Pace, slotOf } from '../../../services/mail/base/slot.ts'
import { fc } from '../../support/fast-check.ts'

const BASE = 30_000
const NEWS = 1_700_000_000_000
const DAY_MS = 86_400_000
const PACE: Pace = { intervalMs: BASE, intervalMaxMs: 8 * BASE }

const paces = fc.record({
  intervalMs: fc.integer({ min: 100, max: DAY_MS }),
  intervalMaxMs: fc.integer({ min: 100, max: DAY_MS }),
})
const slots = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

test('users are spread evenly over the interval, and each has always the same part of it', () => {
  const tenths = new Array<number>(10).fill(0)
  for (let i = 0; i < 10_000; i++) {
    const slot = slotOf(`user${i}`)
    assert.equal(slot, slotOf(`user${i}`))
    const tenth = Math.floor(slot * 10)
    tenths[tenth] = (tenths[tenth] ?? 0) + 1
  }
  for (const users of tenths) assert.ok(users > 850 && users < 1_150, `${tenths}`)
})

test('polls of mailboxes are spread evenly, however long each of them has been quiet', () => {
  for (const quietMs of [0, 700_000, 1_500_000, DAY_MS]) {
    const everyMs = intervalAt(quietMs, PACE)
    const tenths = new Array<number>(10).fill(0)
    for (let i = 0; i < 10_000; i++) {
      const atMs = nextPollMs(NEWS, { pace: PACE, slot: slotOf(`user${i}`), newsMs: NEWS - quietMs })
      const tenth = Math.floor(((atMs - NEWS - 1) / everyMs) * 10)
      tenths[tenth] = (tenths[tenth] ?? 0) + 1
    }
    for (const users of tenths) assert.ok(users > 850 && users < 1_150, `${quietMs}: ${tenths}`)
  }
})

test('the interval is doubled while it is at most a tenth of the quiet, and within its bounds', () => {
  const at = (minutes: number) => intervalAt(minutes * 60_000, PACE) / 1_000
  assert.deepEqual([at(-5), at(0), at(9.99), at(10), at(19.99)], [30, 30, 30, 60, 60])
  assert.deepEqual([at(20), at(39.99), at(40), at(10_000_000)], [120, 120, 240, 240])
  assert.equal(longestIntervalMs({ intervalMs: BASE, intervalMaxMs: 300_000 }), 240_000)
  fc.assert(
    fc.property(paces, fc.integer({ min: 0, max: 400 * DAY_MS }), (pace, quietMs) => {
      const ms = intervalAt(quietMs, pace)
      const doublings = Math.log2(ms / pace.intervalMs)
      assert.ok(Number.isInteger(doublings) && doublings >= 0)
      assert.ok(ms === pace.intervalMs || (ms <= pace.intervalMaxMs && ms * 10 <= quietMs))
      assert.ok(2 * ms > pace.intervalMaxMs || 20 * ms > quietMs, 'it grows when it may')
    }),
  )
})

test('a longest interval that is not above the other one changes nothing', () => {
  for (const intervalMaxMs of [100, BASE, 2 * BASE - 1]) {
    const schedule = { pace: { intervalMs: BASE, intervalMaxMs }, slot: 0.3, newsMs: 0 }
    const atMs = nextPollMs(NEWS, schedule)
    assert.deepEqual([atMs % BASE, nextPollMs(atMs, schedule) - atMs], [0.3 * BASE, BASE])
  }
})

test('from whenever one asks, the next poll is the same one: a new owner goes on where the old one would have', () => {
  // Every longer interval begins within the hour: asked just before that or just after it, the answer is the same.
  for (const slot of [0, 0.37, 0.999])
    for (let quietMs = 0; quietMs < 3_600_000; quietMs += 1_117) {
      const schedule = { pace: PACE, slot, newsMs: NEWS }
      const nextMs = nextPollMs(NEWS + quietMs, schedule)
      assert.equal(nextPollMs(nextMs - 1, schedule), nextMs)
    }
  fc.assert(
    fc.property(
      paces,
      slots,
      fc.integer({ min: 0, max: 100 * DAY_MS }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (pace, slot, quietMs, part) => {
        const schedule = { pace, slot, newsMs: NEWS }
        const afterMs = NEWS + quietMs
        const nextMs = nextPollMs(afterMs, schedule)
        assert.ok(nextMs > afterMs && nextMs - afterMs <= intervalAt(nextMs - NEWS, pace))
        const laterMs = afterMs + Math.floor(part * (nextMs - afterMs))
        assert.equal(nextPollMs(laterMs, schedule), nextMs)
      },
    ),
  )
})

test('after news the next poll comes within the least interval, however long it was quiet before', () => {
  fc.assert(
    fc.property(slots, fc.integer({ min: 0, max: DAY_MS }), (slot, quietMs) => {
      const polledMs = nextPollMs(NEWS + quietMs, { pace: PACE, slot, newsMs: NEWS })
      const nextMs = nextPollMs(polledMs, { pace: PACE, slot, newsMs: polledMs })
      assert.equal(nextMs, polledMs + BASE)
    }),
  )
})
