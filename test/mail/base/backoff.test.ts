import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ceilingMs,
  delayMs,
  PROVIDER_BACKOFF,
  RELAY_BACKOFF,
  setAsideDelayMs,
} from '../../../services/mail/base/backoff.ts'

test('the ceiling doubles with each fault in a row up to its maximum, and no count breaks it', () => {
  assert.deepEqual(
    [0, 1, 2, 3, 9, 10, 1_000, Number.MAX_SAFE_INTEGER].map((n) => ceilingMs(n, PROVIDER_BACKOFF)),
    [1_000, 1_000, 2_000, 4_000, 256_000, 300_000, 300_000, 300_000],
  )
  assert.equal(ceilingMs(50, RELAY_BACKOFF), 10_000)
})

test('the delay is spread over all of the ceiling and never nothing', () => {
  assert.deepEqual(
    [0, 0.5, 0.999].map((random) => delayMs(3, PROVIDER_BACKOFF, random)),
    [100, 2_000, 3_996],
  )
})

test('a message that cannot be read waits 5 s, 60 s, 10 min, then twice as long each time up to 6 h', () => {
  const minutes = 60_000
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 100].map(setAsideDelayMs),
    [5_000, 60_000, 10, 20, 40, 80, 160, 320, 360, 360].map((n) => (n < 1_000 ? n * minutes : n)),
  )
})
