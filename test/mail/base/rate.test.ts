import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Rate } from '../../../services/mail/base/rate.ts'
import { ManualClock } from './manual-clock.ts'

test('a rate counts the last minute, forgets what is older, and counts from the start until there is a minute', async () => {
  const clock = new ManualClock()
  const rate = new Rate(clock)
  assert.equal(rate.perSecond(), 0)
  rate.add(30)
  assert.equal(rate.perSecond(), 30, 'a start counts as one second')
  await clock.advance(10_000)
  assert.equal(rate.perSecond(), 3)
  await clock.advance(40_000)
  rate.add(88)
  await clock.advance(9_000)
  assert.equal(rate.perSecond(), 118 / 59)
  await clock.advance(1_000)
  assert.equal(rate.perSecond(), 88 / 59, 'the first second is out')
  await clock.advance(500)
  assert.equal(rate.perSecond(), 88 / 59.5)
  await clock.advance(3_600_000)
  assert.equal(rate.perSecond(), 0)
})

test('a steady rate is what it is, wherever in a second one looks', async () => {
  const clock = new ManualClock()
  const rate = new Rate(clock)
  for (let i = 0; i < 1_000; i++) {
    await clock.advance(100)
    rate.add(2)
    if (i > 20) assert.ok(Math.abs(rate.perSecond() - 20) < 1, String(rate.perSecond()))
  }
})
