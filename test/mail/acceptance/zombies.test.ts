/**
 * Accepted when: an owner that is paused, or whose bytes arrive late, has no users by its own deadline before another
 * one has them, and none of its late writes is stored. The long runs are in test/system.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertOneOwner, heldBytes, pausedOwners, type Story } from './zombies.ts'

const SHORT: Story = { rounds: 2, mails: 40, silenceMs: 1_000 }
const HOLD_MS = 2_500

// Each has a server of its own, and most of their time is waiting.
describe('owners that come back too late', { concurrency: 3 }, () => {
  test('an owner paused for longer than the silence writes nothing when it wakes', async (t) => {
    const figures = await pausedOwners(SHORT)
    t.diagnostic(figures.line)
    assertOneOwner(figures)
  })

  test('what an owner has sent, and arrives after another one has its users, is refused', async (t) => {
    const figures = await heldBytes(SHORT, HOLD_MS)
    t.diagnostic(figures.line)
    assertOneOwner(figures)
    const { wire } = figures
    assert.ok(wire.refused('stream') > 0 && wire.refused('state') > 0, figures.line)
  })

  test('control: an owner whose term does not end by itself is one of two', async (t) => {
    const { overlaps, line } = await heldBytes({ ...SHORT, rounds: 1 }, HOLD_MS, { endTerms: false })
    t.diagnostic(line)
    assert.ok(overlaps.length > 0, line)
  })
})
