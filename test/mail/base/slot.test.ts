import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nextSlotMs, slotOf } from '../../../services/mail/base/slot.ts'

const EVERY = 30_000

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

test('the next moment lies behind the one given, at most an interval, and always at the same part of it', () => {
  for (const slot of [0, 0.25, 0.999])
    for (let afterMs = 1_700_000_000_000; afterMs < 1_700_000_000_000 + 2 * EVERY; afterMs += 1_117) {
      const nextMs = nextSlotMs(afterMs, EVERY, slot)
      assert.ok(nextMs > afterMs && nextMs <= afterMs + EVERY)
      assert.equal(nextMs % EVERY, Math.floor(slot * EVERY))
      assert.equal(nextSlotMs(nextMs, EVERY, slot), nextMs + EVERY)
    }
})
