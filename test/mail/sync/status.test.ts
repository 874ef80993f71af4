import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as v from 'valibot'
import { AccountStatus } from '#shared/contract.ts'
import type { LaneState } from '../../../services/mail/base/model.ts'
import { AccountState } from '../../../services/mail/sync/account-state.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { accountStatus, isQuiet, type StatusInput } from '../../../services/mail/sync/status.ts'
import { syncRow } from '../../../services/mail/sync/sync-row.ts'
import { PROVEN, steady } from './plain-worker.ts'

const NOW = 1_700_000_000_000
const done = (name: string, more: Partial<LaneState> = {}): LaneState => ({
  ...newLane(name),
  done: true,
  syncedMs: NOW - 1_000,
  ...more,
})
const QUIET = { pending: 0, oldestTsMs: null, error: null, streamReset: false, gapBefore: null }

/** A mailbox that is bound, listed and polled a second ago. */
function liveState(change: (state: AccountState) => void = () => undefined): AccountState {
  const state = new AccountState()
  state.bound = true
  state.stored = 100
  state.audit = PROVEN
  for (const lane of [done('history'), done('enum', { syncedMs: NOW - 9_000_000 }), done('drain')])
    state.lanes.set(lane.lane, lane)
  change(state)
  return state
}
const queue = (state: AccountState, depth: Partial<AccountState['queue']>): AccountState =>
  Object.assign(state, { queue: { ...state.queue, ...depth } })

const inputOf = (state: AccountState): StatusInput => ({
  provider: 'google',
  inboxId: 'primary',
  state,
  outbox: QUIET,
  polled: (lane) => lane === 'history',
  nowMs: NOW,
  pace: steady(30_000),
  slot: ((NOW - 1_000) % 30_000) / 30_000,
  instance: 'a',
})

function statusOf(state: AccountState, more: Partial<StatusInput> = {}): AccountStatus {
  return v.parse(AccountStatus, accountStatus({ ...inputOf(state), ...more }))
}
const word = (state: AccountState, more: Partial<StatusInput> = {}): [string, string | null] => {
  const { state: shown, last_error } = statusOf(state, more)
  return [shown, last_error?.code ?? null]
}

test('a live account stays live while new mail is fetched, and is not at rest meanwhile', () => {
  const live = liveState((state) => queue(state, { entries: 3, waiting: 3, urgent: 3 }))
  assert.deepEqual(word(live), ['live', null])
  assert.equal(syncRow(live, NOW).status, 'LIVE')
  assert.equal(isQuiet(inputOf(live)), false)
  assert.equal(isQuiet(inputOf(liveState())), true)
})

test('an account goes from connecting over backfilling to live', () => {
  const state = new AccountState()
  assert.deepEqual(word(state), ['connecting', null])
  state.lanes.set('history', newLane('history'))
  assert.deepEqual(word(state), ['connecting', null])
  state.bound = true
  assert.deepEqual(word(state), ['backfilling', null])
  assert.deepEqual(word(liveState((live) => live.lanes.set('enum', newLane('enum')))), ['backfilling', null])
  assert.deepEqual(word(liveState((live) => queue(live, { waiting: 1 }))), ['backfilling', null])
  assert.deepEqual(word(liveState((live) => queue(live, { waiting: 2, urgent: 1 }))), ['backfilling', null])
  assert.deepEqual(word(liveState()), ['live', null])
})

test('a fault shows as retrying with its code, and as ERROR in the table from the eighth in a row on', () => {
  const state = liveState()
  for (let n = 1; n <= 9; n++) {
    state.failed('PROVIDER_DOWN', 'history', NOW, NOW + 4_000)
    const { last_error } = statusOf(state)
    assert.deepEqual([last_error?.count, last_error?.retry_at], [n, NOW / 1_000 + 4])
    assert.deepEqual(word(state), ['retrying', 'PROVIDER_DOWN'])
    assert.equal(syncRow(state, NOW).status, n >= 8 ? 'ERROR' : 'RETRYING')
    assert.equal(syncRow(state, NOW).retryCount, n)
  }
  state.failed('DISK_FULL', 'history', NOW, NOW)
  assert.equal(statusOf(state).last_error?.count, 1, 'another fault counts from one')
})

test('a page of another lane does not end a fault, one of its own does', () => {
  const state = liveState()
  state.failed('PROVIDER_DOWN', 'enum', NOW, NOW)
  state.succeeded('history', () => true, NOW)
  assert.deepEqual(word(state), ['retrying', 'PROVIDER_DOWN'])
  state.succeeded('enum', () => true, NOW)
  assert.deepEqual(word(state), ['live', null])
  state.failed('THROTTLED', null, NOW, NOW)
  state.succeeded('history', () => true, NOW)
  assert.deepEqual(word(state), ['live', null])
})

test('each lane keeps its own fault and count; status shows the one met most often', () => {
  const state = liveState()
  state.failed('PROVIDER_DOWN', 'enum', NOW, NOW)
  state.failed('PROVIDER_DOWN', 'enum', NOW, NOW)
  state.failed('CURSOR_EXPIRED', 'history', NOW, NOW)
  assert.deepEqual([word(state), statusOf(state).last_error?.count], [['retrying', 'PROVIDER_DOWN'], 2])
  state.succeeded('history', () => true, NOW)
  assert.deepEqual([word(state), statusOf(state).last_error?.count], [['retrying', 'PROVIDER_DOWN'], 2])
  state.succeeded('enum', () => true, NOW)
  assert.deepEqual(word(state), ['live', null])
})

test('a page that was stored ends a full disk for every lane, but no announced pause', () => {
  const state = liveState((live) => {
    live.throttledUntilMs = NOW + 1
  })
  state.failed('DISK_FULL', 'enum', NOW, NOW)
  state.failed('THROTTLED', null, NOW, NOW + 1)
  state.succeeded('history', () => true, NOW)
  assert.deepEqual([...state.faults.keys()], [''])
  state.succeeded('history', () => true, NOW + 1)
  assert.equal(state.faults.size, 0)
})

test('a fault of a lane that is asked no more ends with the next page of any other', () => {
  const state = liveState()
  state.failed('PROVIDER_DOWN', 'folder:gone', NOW, NOW)
  state.succeeded('history', (lane) => state.lanes.has(lane), NOW)
  assert.deepEqual(word(state), ['live', null])
})

test('throttled until its time, whatever else is wrong', () => {
  const state = liveState((live) => {
    live.throttledUntilMs = NOW + 1
    live.failed('THROTTLED', null, NOW, NOW + 1)
  })
  assert.deepEqual(word(state), ['throttled', 'THROTTLED'])
  assert.equal(syncRow(state, NOW).status, 'THROTTLED')
  const shared = liveState((live) => live.failed('SHARED_MAILBOX', 'folders', NOW, NOW + 600_000))
  assert.deepEqual(word(shared), ['throttled', 'SHARED_MAILBOX'])
})

test('an account that ended says so above everything', () => {
  for (const ended of ['needs_reauth', 'paused'] as const) {
    const state = liveState((live) => {
      live.ended = ended
      live.throttledUntilMs = NOW + 1
      live.failed('AUTH_EXPIRED', null, NOW, null)
    })
    assert.equal(statusOf(state).state, ended)
    assert.equal(syncRow(state, NOW).status, ended.toUpperCase())
  }
})

test('live needs a poll younger than three intervals and an outbox younger than a minute', () => {
  const silent = (ms: number) => liveState((live) => live.lanes.set('history', done('history', { syncedMs: NOW - ms })))
  assert.deepEqual(word(silent(90_000)), ['live', null])
  assert.deepEqual(word(silent(90_001)), ['retrying', 'PROVIDER_DOWN'])
  const waiting = (ms: number) => ({ outbox: { ...QUIET, pending: 1, oldestTsMs: NOW - ms } })
  assert.deepEqual(word(liveState(), waiting(60_000)), ['live', null])
  assert.deepEqual(word(liveState(), waiting(60_001)), ['retrying', 'NATS_UNAVAILABLE'])
  const full = { outbox: { ...QUIET, pending: 1, oldestTsMs: NOW, error: 'STREAM_FULL' as const } }
  assert.deepEqual(word(liveState(), full), ['retrying', 'STREAM_FULL'])
})

test('live needs a proof: without one it is backfilling, and an audit that runs takes none away', () => {
  const unproven = liveState((live) => {
    live.audit = { ...PROVEN, provenMs: null }
    live.lanes.set('audit', newLane('audit'))
  })
  assert.deepEqual(word(unproven), ['backfilling', null])
  assert.equal(syncRow(unproven, NOW).status, 'BACKFILLING')
  const audited = liveState((live) => live.lanes.set('audit', newLane('audit')))
  assert.deepEqual(word(audited), ['live', null])
  assert.equal(statusOf(audited).progress.percent, 100)
  const waiting = { outbox: { ...QUIET, pending: 3, oldestTsMs: NOW } }
  const known = liveState((live) => {
    live.audit = { ...PROVEN, providerTotal: 98, provenMs: NOW - 500 }
  })
  assert.deepEqual(statusOf(known, waiting).completeness, {
    provider_total: 98,
    stored: 100,
    published: 97,
    proven_at: Math.floor((NOW - 500) / 1_000),
  })
})

test('a worker that has just started is not accused of the silence before it', () => {
  const state = liveState((live) => {
    live.lanes.set('history', done('history', { syncedMs: NOW - 86_400_000 }))
    live.sinceMs = NOW - 1_000
  })
  assert.deepEqual(word(state), ['live', null])
  assert.deepEqual(word(state, { nowMs: NOW + 90_000 }), ['retrying', 'PROVIDER_DOWN'])
})

test('messages set aside are shown, and do not keep an account from being done', () => {
  const state = liveState((live) => queue(live, { setAside: 3, entries: 3 }))
  const status = statusOf(state)
  assert.deepEqual([status.state, status.last_error?.code, status.set_aside], ['retrying', 'MESSAGE_SET_ASIDE', 3])
  assert.equal(status.progress.percent, 100)
})

test('progress is rows stored of what is estimated, then of what is known; 100 only when done', () => {
  const progress = (change: (state: AccountState) => void) => statusOf(liveState(change)).progress
  const walking = (live: AccountState) => live.lanes.set('enum', newLane('enum'))
  const unknown = progress(walking)
  assert.deepEqual([unknown.total_estimate, unknown.percent, unknown.eta_s], [null, null, null])
  const estimated = progress((live) => walking(live) && Object.assign(live, { estimate: 400 }))
  assert.deepEqual([estimated.done, estimated.total_estimate, estimated.percent], [100, 400, 25])
  const low = progress((live) => walking(live) && Object.assign(live, { estimate: 50 }))
  assert.deepEqual([low.total_estimate, low.percent], [100, 99])
  const listed = progress((live) => Object.assign(queue(live, { waiting: 100, entries: 100 }), { estimate: 9_999 }))
  assert.deepEqual([listed.total_estimate, listed.percent], [200, 50])
  assert.deepEqual(progress(() => undefined).percent, 100)
  assert.equal(progress((live) => walking(live) && Object.assign(live, { estimate: 0, stored: 0 })).percent, 99)
})

test('rate and remaining time come from the last twenty seconds', () => {
  const state = liveState((live) => {
    live.lanes.set('enum', newLane('enum'))
    live.estimate = 1_000
    live.stored = 0
    live.progressed(NOW - 60_000)
    live.stored = 400
    live.progressed(NOW - 10_000)
    live.stored = 500
    live.progressed(NOW)
  })
  const { rate_per_s, eta_s } = statusOf(state).progress
  assert.deepEqual([rate_per_s, eta_s], [10, 50])
  for (let i = 0; i < 5_000; i++) state.progressed(NOW)
  assert.equal(statusOf(state).progress.rate_per_s, null, 'no time passed between the samples that are kept')
})

test('times are epoch seconds and never in the past', () => {
  const status = statusOf(liveState())
  assert.deepEqual([status.last_synced_at, status.next_sync_at], [NOW / 1_000 - 1, NOW / 1_000 + 29])
  const late = liveState((live) => live.lanes.set('history', done('history', { syncedMs: NOW - 80_000 })))
  assert.equal(statusOf(late).next_sync_at, NOW / 1_000)
  const fresh = statusOf(new AccountState())
  assert.deepEqual([fresh.last_synced_at, fresh.next_sync_at], [null, null])
  assert.deepEqual(statusOf(liveState(), { outbox: { ...QUIET, pending: 2, oldestTsMs: NOW + 5_000 } }).outbox, {
    pending: 2,
    oldest_age_s: 0,
  })
})

test('a mailbox that is refilled is live, and its progress says that rows are missing', () => {
  const refilling = liveState((state) => {
    state.lanes.set('refill', newLane('refill'))
    state.estimate = 400
  })
  const { state, refill, progress } = statusOf(refilling)
  assert.deepEqual([state, refill, progress.done, progress.percent], ['live', true, 100, 25])
  assert.deepEqual([statusOf(liveState()).refill, statusOf(liveState()).gap_before], [false, null])
  assert.equal(statusOf(liveState(), { outbox: { ...QUIET, gapBefore: 7 } }).gap_before, 7)
})
