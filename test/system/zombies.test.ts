/** Accepted when: paused owners, and owners whose bytes arrive late, twenty times over; one owner at a time, each mail once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { assertOneOwner, heldBytes, pausedOwners } from '../mail/acceptance/zombies.ts'

const PAUSES = 20
const HOLDS = 4
const HOLD_MS = 20_000
const SILENCE_MS = 2_000

test('an owner paused for longer than the silence, twenty times', async (t) => {
  const figures = await pausedOwners({ rounds: PAUSES, mails: 400, silenceMs: SILENCE_MS })
  t.diagnostic(figures.line)
  assertOneOwner(figures)
})

test('the bytes of an owner arrive twenty seconds late', async (t) => {
  const figures = await heldBytes({ rounds: HOLDS, mails: 400, silenceMs: SILENCE_MS }, HOLD_MS)
  t.diagnostic(figures.line)
  assertOneOwner(figures)
  assert.ok(figures.wire.late.length > 0, 'there was something to refuse')
})
