/** What a term knows of its mailboxes while it polls them: when the next one is due, and since when each is quiet. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AccountRef, type LaneState, toSeconds } from '../../../services/mail/base/model.ts'
import { slotOf } from '../../../services/mail/base/slot.ts'
import type { AccountEntry } from '../../../services/mail/kv/accounts.ts'
import { newsOf, nextDueMs } from '../../../services/mail/owner/tenure-status.ts'
import { AccountState } from '../../../services/mail/sync/account-state.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { accountStatus } from '../../../services/mail/sync/status.ts'
import { connected } from '../kv/support.ts'

const NOW = 1_700_000_000_000
const PACE = { intervalMs: 30_000, intervalMaxMs: 240_000 }
const USER = 'ada'

const polled = (_account: AccountRef, lane: string): boolean => lane === 'history'
const entryOf = (inboxId: string): AccountEntry => ({
  account: { userId: USER, provider: 'google', inboxId },
  record: connected(),
  revision: 1,
})
function stateOf(polledAgoMs: number, quietMs: number): AccountState {
  const state = new AccountState()
  const lane: LaneState = { ...newLane('history'), done: true, syncedMs: polledAgoMs === 0 ? 0 : NOW - polledAgoMs }
  state.lanes.set('history', lane)
  state.newsMs = NOW - quietMs
  return state
}

test('a user is due with the first of its mailboxes, at the moment that the status names', () => {
  const states = new Map([
    ['busy', stateOf(1, 60_000)],
    ['quiet', stateOf(1, 86_400_000)],
  ])
  const due = (...inboxes: string[]): number | null =>
    nextDueMs(inboxes.map(entryOf), ({ inboxId }) => states.get(inboxId), polled, PACE)
  const said = (inboxId: string): number | null =>
    accountStatus({
      provider: 'google',
      inboxId,
      state: states.get(inboxId) ?? assert.fail(),
      outbox: { pending: 0, oldestTsMs: null, error: null, streamReset: false, gapBefore: null },
      polled: (lane) => lane === 'history',
      nowMs: NOW,
      pace: PACE,
      slot: slotOf(USER),
      instance: 'a',
    }).next_sync_at
  for (const inbox of ['busy', 'quiet']) assert.equal(toSeconds(due(inbox) ?? 0), said(inbox))
  assert.ok(Number(due('quiet')) - NOW < 240_000 && Number(due('busy')) - NOW < 30_000)
  assert.equal(due('quiet', 'busy'), Math.min(Number(due('quiet')), Number(due('busy'))))
  assert.equal(due('busy', 'signed out'), due('busy'), 'one without a worker is not polled')
  assert.equal(due('signed out'), null)
  states.set('new', stateOf(0, 0))
  assert.equal(due('busy', 'new'), null, 'one that was never polled')
})

test('since when a mailbox is quiet is told of each that has a worker', () => {
  const state = stateOf(1, 60_000)
  const told = newsOf([entryOf('a'), entryOf('b')], ({ inboxId }) => (inboxId === 'a' ? state : undefined))
  assert.deepEqual(told, { 'google.a': NOW - 60_000 })
})
