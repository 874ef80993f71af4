import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Wake } from '../../../services/mail/base/wake.ts'
import { ManualClock } from './manual-clock.ts'

const never = new AbortController().signal

test('who waits goes on when the bell rings, and nothing is left behind', async () => {
  const clock = new ManualClock()
  const bell = new Wake()
  const waiting = bell.wait(60_000, clock, never)
  assert.equal(clock.sleeping, 1)
  bell.ring()
  await waiting
  await turn()
  assert.equal(clock.sleeping, 0)
})

test('a ring while nobody waits is kept, once', async () => {
  const clock = new ManualClock()
  const bell = new Wake()
  bell.ring()
  bell.ring()
  await bell.wait(60_000, clock, never)
  let over = false
  const second = bell.wait(1_000, clock, never).then(() => {
    over = true
  })
  await clock.advance(999)
  assert.equal(over, false)
  await clock.advance(1)
  await second
})

test('the signal ends a wait with its reason, and a rest without a word', async () => {
  const clock = new ManualClock()
  const stop = new AbortController()
  const bell = new Wake()
  const waiting = bell.wait(60_000, clock, stop.signal)
  stop.abort(new Error('over'))
  await assert.rejects(waiting, /over/)
  await assert.rejects(bell.wait(60_000, clock, stop.signal), /over/)
  await bell.rest(60_000, clock, stop.signal)
  assert.equal(clock.sleeping, 0)
})

test('a ring during the wait does not also end the next one', async () => {
  const clock = new ManualClock()
  const bell = new Wake()
  const first = bell.wait(1_000, clock, never)
  bell.ring()
  await first
  const second = bell.wait(1_000, clock, never)
  await turn()
  assert.equal(clock.sleeping, 1)
  await clock.advance(1_000)
  await second
})
