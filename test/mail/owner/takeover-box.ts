/** Two disks that a user is taken over on, with the real buckets, and what owners leave behind. */
import assert from 'node:assert/strict'
import { BUCKET_STATE } from '#shared/subjects.ts'
import type { Epoch, LaneState } from '../../../services/mail/base/model.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { type CheckpointRecord, Checkpoints } from '../../../services/mail/kv/checkpoint.ts'
import { takeSnapshot } from '../../../services/mail/owner/snapshotter.ts'
import { takeOver } from '../../../services/mail/owner/takeover.ts'
import { putLane, readLanes } from '../../../services/mail/store/lanes.ts'
import { storeNew } from '../../../services/mail/store/messages.ts'
import { setStreamCreated } from '../../../services/mail/store/meta.ts'
import { dueRows, markPublished } from '../../../services/mail/store/outbox-rows.ts'
import type { UserStore } from '../../../services/mail/store/user-store.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { kvBox, log } from '../kv/support.ts'
import { ACCOUNT, mails, type StoreBox, storeBox } from '../store/support.ts'
import { takeoverParts } from './takeover-parts.ts'

export const USER = ACCOUNT.userId
const KEY = 'google.primary'
export const epoch = (rev: number, era = 1_000): Epoch => ({ era, rev })

export async function takeoverBox() {
  await using stack = new AsyncDisposableStack()
  const kv = stack.use(await kvBox())
  const disks: Record<string, StoreBox> = {}
  for (const name of ['a', 'b']) disks[name] = stack.use(storeBox())
  const bucket = await Bucket.open(kv.nc, BUCKET_STATE)
  const checkpoints = new Checkpoints(() => bucket)
  const extra = await takeoverParts(kv.nc)
  const diskOf = (name: 'a' | 'b'): UserStore => {
    const disk = disks[name]
    assert.ok(disk !== undefined)
    return disk.store
  }
  const parts = stack.move()
  const box = {
    ...extra,
    /** Where the stream begins, as far as the take-over is told. */
    firstSeq: 1,
    /** Sequences that it does not hold any more. */
    purged: new Set<number>(),
    /** What a look at the stream brings into the ledger. */
    readBack: async (_name: 'a' | 'b', _at: Epoch): Promise<number | null> => null,
    checkpoints,
    bucket,
    diskOf,
    take: (name: 'a' | 'b', at: Epoch) =>
      takeOver(USER, at, `sid-${name}`, {
        checkpoints,
        ...extra,
        store: diskOf(name),
        clock: systemClock,
        log,
        streamFacts: async () => ({ ...(await extra.streamFacts()), firstSeq: box.firstSeq, lastSeq: 9_999 }),
        streamHolds: async (seq) => !box.purged.has(seq),
        readBack: () => box.readBack(name, at),
      }),
    walk: (name: 'a' | 'b', at: Epoch, cursor: string, more: Partial<LaneState> = {}) =>
      diskOf(name).commit(USER, at, (tx) => putLane(tx, ACCOUNT, { ...newLane('history'), cursor, ...more })),
    /** The checkpoint of a term, with one position. */
    async write(cursor: string, more: Partial<LaneState> = {}): Promise<void> {
      const found = await checkpoints.read(USER)
      assert.ok(found !== null)
      const lanes = { [KEY]: [{ ...newLane('history'), cursor, ...more }] }
      await checkpoints.write(USER, { ...found.record, lanes, lanesEpoch: found.record.epoch }, found.revision)
    },
    lanes: (name: 'a' | 'b') =>
      diskOf(name)
        .read(USER, (db) => readLanes(db, ACCOUNT))
        .map(({ lane, cursor }) => `${lane}:${cursor}`),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
  return box
}

export type TakeoverBox = Awaited<ReturnType<typeof takeoverBox>>

/** T3 of a term was done, and nothing after it. */
export async function diedAfterClaim(box: TakeoverBox, term: Epoch): Promise<void> {
  const found = await box.checkpoints.read(USER)
  assert.ok(found !== null)
  await box.checkpoints.write(USER, { ...found.record, epoch: term }, found.revision)
}

/** What the checkpoint says is replaced in place, as an owner would write it. */
export async function rewrite(
  box: TakeoverBox,
  change: (record: CheckpointRecord) => Partial<CheckpointRecord>,
): Promise<void> {
  const found = await box.checkpoints.read(USER)
  assert.ok(found !== null)
  await box.checkpoints.write(USER, { ...found.record, ...change(found.record) }, found.revision)
}

/** An owner at `a` with three published mails and a snapshot of them; the stream begins behind them. */
export async function withSnapshot(box: TakeoverBox): Promise<void> {
  await box.take('a', epoch(1))
  box.walk('a', epoch(1), 'a1')
  await box.write('a1')
  await withSnapshotAt(box, epoch(1))
}
export async function withSnapshotAt(box: TakeoverBox, term: Epoch): Promise<void> {
  const { createdMs } = await box.streamFacts()
  const store = box.diskOf('a')
  store.commit(USER, term, (tx) => {
    storeNew(tx, ACCOUNT, mails('m', 3), 1)
    const rows = dueRows(tx, 3).map(({ id, msgId }) => ({ id, msgId, seq: id + 6 }))
    markPublished(tx, rows, { seq: 9, eventId: rows[2]?.msgId ?? null }, 1)
    setStreamCreated(tx, createdMs)
  })
  const deps = { store, snapshots: box.snapshots, clock: systemClock }
  const pointer = await takeSnapshot(USER, term, deps, async () => true, AbortSignal.timeout(10_000))
  assert.ok(pointer !== null)
  // A user of long ago: a month and more.
  const life = { bornS: 1, firstStreamMs: createdMs }
  await rewrite(box, () => ({ snapshots: [pointer], pub: 9, streamCreatedMs: createdMs, ...life }))
  box.firstSeq = 10
}
