/**
 * W5: the ledger of a user into the object store, when enough is new in it. The pointer to it is the checkpointer's to
 * write: until that is done the object counts for nobody.
 */
import { setImmediate as yieldTurn } from 'node:timers/promises'
import { snapshotName } from '#shared/subjects.ts'
import { type Epoch, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import type { CheckpointRecord, SnapshotPointer } from '../kv/checkpoint.ts'
import { encodeEntries } from '../outbox/ledger-format.ts'
import type { Snapshots } from '../outbox/snapshots.ts'
import { type LedgerEntry, ledgerPage } from '../store/ledger.ts'
import { type Meta, readMeta } from '../store/meta.ts'
import type { UserStore } from '../store/user-store.ts'

/** Generations that are kept. */
const KEPT = 3
/** New entries that are worth a snapshot: this many, or this part of the ledger, whichever is more. */
const NEW_MIN = 500
const NEW_PART = 0.02
const DAY_S = 86_400
/** Entries per read; everything else of the process stands still meanwhile. */
const PAGE = 2_000

export type SnapshotterDeps = {
  store: UserStore
  snapshots: Pick<Snapshots, 'put'>
  clock: Clock
}

/** How long a checkpoint, and what is new since a snapshot, may grow old: well before what they speak of ages out. */
export const renewalS = (retentionS: number): number => Math.min(DAY_S, retentionS / 4)

/**
 * Whether what the newest snapshot lacks is due to be saved: by its number, by its age, or because the stream does not
 * have it: it was made anew, or the user has a gap.
 * @param size entries of the ledger
 */
export function isSnapshotDue(
  { snapshots: [newest], unsavedSince }: Pick<CheckpointRecord, 'snapshots' | 'unsavedSince'>,
  size: number,
  meta: Pick<Meta, 'streamCreatedMs' | 'streamResetMs' | 'gapBefore'>,
  nowS: number,
  retentionS: number,
): boolean {
  if (size === 0) return false
  const fresh = size - (newest?.mails ?? 0)
  if (fresh >= Math.max(NEW_MIN, size * NEW_PART)) return true
  if (unsavedSince !== null && nowS - unsavedSince >= renewalS(retentionS)) return true
  if (newest === undefined) return meta.streamResetMs !== null || meta.gapBefore !== null
  return newest.streamCreatedMs !== meta.streamCreatedMs
}

/** Puts the ledger into the store. `signal` ends it between two reads. */
export async function takeSnapshot(
  userId: string,
  epoch: Epoch,
  { store, snapshots, clock }: SnapshotterDeps,
  signal: AbortSignal,
): Promise<SnapshotPointer> {
  // First the end: what is published while the ledger is read stands behind it, and may be in the snapshot or not.
  const meta = store.read(userId, readMeta)
  if (meta === null) throw new Error('a snapshot is taken only of a database that was adopted')
  const entries: LedgerEntry[] = []
  for (let after: Buffer | null = Buffer.alloc(0); after !== null; await yieldTurn()) {
    signal.throwIfAborted()
    const from: Buffer = after
    const page = store.read(userId, (db) => ledgerPage(db, from, PAGE))
    entries.push(...page.entries)
    after = page.end
  }
  const name = snapshotName(userId, epoch, meta.lastSeq)
  return {
    name,
    sha256: await snapshots.put(name, encodeEntries(entries)),
    mails: entries.length,
    last: meta.lastSeq,
    lastEventId: meta.lastEventId,
    streamCreatedMs: meta.streamCreatedMs,
    ts: toSeconds(clock.wallMs()),
  }
}

/** The generations with the new one before them, and the names of those that are dropped. */
export function addGeneration(
  pointer: SnapshotPointer,
  before: readonly SnapshotPointer[],
): { kept: SnapshotPointer[]; dropped: string[] } {
  const all = [pointer, ...before.filter(({ name }) => name !== pointer.name)]
  return { kept: all.slice(0, KEPT), dropped: all.slice(KEPT).map(({ name }) => name) }
}
