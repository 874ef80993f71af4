import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LaneState } from '../../../services/mail/base/model.ts'
import { deleteLane, putLane, readLanes, replaceLanes } from '../../../services/mail/store/lanes.ts'
import { putSyncState, readSyncState } from '../../../services/mail/store/sync-state.ts'
import { ACCOUNT, EPOCH, storeBox } from './support.ts'

const OTHER = { ...ACCOUNT, inboxId: 'work' }
const lane = (name: string, more: Partial<LaneState> = {}): LaneState => ({
  lane: name,
  cursor: null,
  done: false,
  notBeforeMs: 0,
  failures: 0,
  syncedMs: 0,
  resets: 0,
  resetMs: 0,
  ...more,
})

test('lanes are kept per account and survive the handle', async () => {
  await using box = storeBox()
  const { store } = box
  store.adopt('ada', EPOCH)
  const moved = lane('enum', {
    cursor: 'page-2',
    done: true,
    notBeforeMs: 5,
    failures: 2,
    syncedMs: 7,
    resets: 1,
    resetMs: 6,
  })
  store.commit('ada', EPOCH, (tx) => {
    putLane(tx, ACCOUNT, lane('history'))
    putLane(tx, ACCOUNT, lane('enum'))
    putLane(tx, ACCOUNT, moved)
    putLane(tx, OTHER, lane('folders'))
  })
  store.release('ada')
  assert.deepEqual(
    store.read('ada', (db) => readLanes(db, ACCOUNT)),
    [moved, lane('history')],
  )
  store.commit('ada', EPOCH, (tx) => deleteLane(tx, ACCOUNT, 'enum'))
  store.commit('ada', EPOCH, (tx) => replaceLanes(tx, OTHER, [lane('x'), lane('y')]))
  store.read('ada', (db) => {
    assert.deepEqual(readLanes(db, ACCOUNT), [lane('history')])
    assert.deepEqual(readLanes(db, OTHER), [lane('x'), lane('y')])
  })
})

test('the sync state keeps its cursor until a write names one, and an unreadable error counts as none', async () => {
  await using box = storeBox()
  const { store } = box
  store.adopt('ada', EPOCH)
  const state = { lastSyncedAt: 10, status: 'LIVE', lastError: null, retryCount: 0, updatedAt: 11 }
  const error = { code: 'THROTTLED', message: 'wait', at: 12, retry_at: 20, count: 3 }
  assert.equal(
    store.read('ada', (db) => readSyncState(db, ACCOUNT)),
    null,
  )
  store.commit('ada', EPOCH, (tx) => {
    putSyncState(tx, ACCOUNT, { ...state, cursor: 'h1' })
    putSyncState(tx, ACCOUNT, { ...state, status: 'THROTTLED', lastError: error })
  })
  assert.deepEqual(
    store.read('ada', (db) => readSyncState(db, ACCOUNT)),
    { ...state, cursor: 'h1', status: 'THROTTLED', lastError: error },
  )
  store.commit('ada', EPOCH, (tx) => tx.db.run("UPDATE provider_sync_state SET last_error = '{'"))
  assert.equal(store.read('ada', (db) => readSyncState(db, ACCOUNT))?.lastError, null)
})
