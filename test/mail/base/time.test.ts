import assert from 'node:assert/strict'
import { test } from 'node:test'
import { endsWithin, pause, systemClock } from '../../../services/mail/base/time.ts'
import { ManualClock } from './manual-clock.ts'

const forever = new Promise<never>(() => undefined)

test('work is in time or late, and no timer is left behind', async () => {
  const clock = new ManualClock()
  assert.equal(await endsWithin(clock, 1_000, Promise.resolve()), true)
  await assert.rejects(endsWithin(clock, 1_000, Promise.reject(new Error('broken'))), /broken/)
  const late = endsWithin(clock, 1_000, forever)
  await clock.advance(1_000)
  assert.equal(await late, false)
  assert.equal(clock.sleeping, 0)
})

test('a sleep ends with the reason of its signal, a pause without a word', async () => {
  const reason = new Error('over')
  await assert.rejects(systemClock.sleep(60_000, AbortSignal.abort(reason)), reason)
  const stop = new AbortController()
  const sleeping = systemClock.sleep(60_000, stop.signal)
  const pausing = pause(systemClock, Number.POSITIVE_INFINITY, stop.signal)
  stop.abort(reason)
  await assert.rejects(sleeping, reason)
  await pausing
  await systemClock.sleep(-5, new AbortController().signal)
})
