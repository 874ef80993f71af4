/** A snapshot is read beside everything else that wants the event loop. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { decodeEntries } from '../../../services/mail/outbox/ledger-format.ts'
import { takeSnapshot } from '../../../services/mail/owner/snapshotter.ts'
import { addKnown } from '../../../services/mail/store/known.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { log } from '../kv/support.ts'
import { ACCOUNT, EPOCH } from '../store/support.ts'

const USER = ACCOUNT.userId
const ENTRIES = 2_400

test('each page of the ledger waits for its turn, and holds the loop for 1,000 entries at most', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'mail-sync-turns-'))
  /** What was done since the last turn. */
  const reads: number[] = []
  const nextTurn = async (): Promise<void> => void reads.push(0)
  await using store = new UserStore({ dataDir, log, nextTurn })
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rmSync(dataDir, { recursive: true }))
  store.adopt(USER, EPOCH)
  const ids = Array.from({ length: ENTRIES }, (_, i) => `00000000-0000-5000-8000-${String(i).padStart(12, '0')}`)
  store.commit(USER, EPOCH, (tx) => {
    for (const id of ids) addKnown(tx, id)
  })
  const { read } = store
  store.read = (...args) => {
    if (reads.length > 0) reads.push((reads.pop() ?? 0) + 1)
    return read.apply(store, args) as never
  }
  let put = Buffer.alloc(0)
  const snapshots = {
    createdMs: 1,
    inTurn: <T>(work: () => Promise<T>) => work(),
    put: async (_name: string, pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>) => {
      for await (const piece of pieces) put = Buffer.concat([put, piece])
    },
  }
  const deps = { store, snapshots, clock: new ManualClock() }
  const pointer = await takeSnapshot(USER, EPOCH, deps, async () => true, new AbortController().signal)
  assert.deepEqual(reads, [1, 1, 1], 'three pages, each in a turn of its own')
  assert.deepEqual([pointer?.mails, decodeEntries(put).length], [ENTRIES, ENTRIES])
  assert.equal(pointer?.sha256, createHash('sha256').update(put).digest('base64url'))
})
