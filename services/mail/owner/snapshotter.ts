/**
 * W5: the ledger of a user into the object store, when enough is new in it. The pointer to it is the checkpointer's to
 * write: until that is done the object counts for nobody.
 */
import { createHash, type Hash, randomBytes } from 'node:crypto'
import { snapshotName } from '#shared/subjects.ts'
import { type Epoch, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import type { CheckpointRecord, SnapshotPointer } from '../kv/checkpoint.ts'
import { ENTRY_BYTES } from '../outbox/ledger-format.ts'
import type { Snapshots } from '../outbox/snapshots.ts'
import { ledgerEnd, ledgerPage } from '../store/ledger.ts'
import { type Meta, readMeta } from '../store/meta.ts'
import type { UserStore } from '../store/user-store.ts'

/** Generations that are kept. */
const KEPT = 3
/** New entries that are worth a snapshot: this many, or this part of the ledger, whichever is more. */
const NEW_MIN = 500
const NEW_PART = 0.1
const DAY_S = 86_400
/** Entries per read, for which everything else of the process stands still: about a millisecond. */
const PAGE = 1_000
/** So that no two snapshots have one name, though they reach up to the same sequence. */
const NAME_BYTES = 6

export type SnapshotterDeps = {
  store: UserStore
  snapshots: Pick<Snapshots, 'put' | 'inTurn' | 'createdMs'>
  clock: Clock
}

/** How long a checkpoint, and what is new since a snapshot, may grow old: well before what they speak of ages out. */
export const renewalS = (retentionS: number): number => Math.min(DAY_S, retentionS / 4)

/** What a snapshot would hold, as far as it decides whether one is due. */
export type LedgerFacts = Pick<Meta, 'streamCreatedMs' | 'streamResetMs'> & {
  /** Entries, about. */
  size: number
  /** Entries behind the newest snapshot. */
  fresh: number
  hasGap: boolean
  storeCreatedMs: number
}

/** Entries that make a snapshot due. */
export const enoughFresh = (size: number): number => Math.max(NEW_MIN, Math.ceil(size * NEW_PART))

/**
 * Whether what the newest snapshot lacks is due to be saved: by its number, by its age, or because the stream alone does
 * not tell (it was made anew, the user has a gap), or the store is not the one that the snapshot was put into.
 */
export function isSnapshotDue(
  { snapshots: [newest], unsavedSince }: Pick<CheckpointRecord, 'snapshots' | 'unsavedSince'>,
  facts: LedgerFacts,
  nowS: number,
  retentionS: number,
): boolean {
  if (facts.size === 0) return false
  if (facts.fresh >= enoughFresh(facts.size)) return true
  if (unsavedSince !== null && nowS - unsavedSince >= renewalS(retentionS)) return true
  if (newest === undefined) return facts.streamResetMs !== null || facts.hasGap
  return newest.streamCreatedMs !== facts.streamCreatedMs || newest.storeCreatedMs !== facts.storeCreatedMs
}

/**
 * Puts the ledger into the store while it is read, in turn with other users. Bound: a few pages are held in memory, however
 * large the ledger is.
 * @param announce the name has to be written down before the object is there, so that it is found when nobody comes to
 * point to it. False = it was not: nothing is put, null is answered.
 */
export function takeSnapshot(
  userId: string,
  epoch: Epoch,
  { store, snapshots, clock }: SnapshotterDeps,
  announce: (name: string) => Promise<boolean>,
  signal: AbortSignal,
): Promise<SnapshotPointer | null> {
  return snapshots.inTurn(async () => {
    signal.throwIfAborted()
    // First the end: what is published while the ledger is read stands behind it, and may be in the snapshot or not.
    const coveredS = toSeconds(clock.wallMs())
    const [meta, end] = store.read(userId, (db) => [readMeta(db), ledgerEnd(db)])
    if (meta === null) throw new Error('a snapshot is taken only of a database that was adopted')
    // Never in the place of one that is pointed to.
    const name = `${snapshotName(userId, epoch, end.seq)}-${randomBytes(NAME_BYTES).toString('base64url')}`
    if (!(await announce(name))) return null
    const put = { hash: createHash('sha256'), bytes: 0 }
    await snapshots.put(name, readLedger(userId, store, put, signal))
    return {
      name,
      sha256: put.hash.digest('base64url'),
      mails: put.bytes / ENTRY_BYTES,
      last: end.seq,
      lastEventId: end.eventId,
      streamCreatedMs: meta.streamCreatedMs,
      storeCreatedMs: snapshots.createdMs,
      coveredS,
    }
  })
}

/** Each page has a turn of its own: a ledger of a large mailbox takes a second to read. @param put is told what was read */
async function* readLedger(
  userId: string,
  store: UserStore,
  put: { hash: Hash; bytes: number },
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  for (let after: number | null = 0; after !== null; ) {
    await store.turn(userId)
    signal.throwIfAborted()
    const from: number = after
    const { bytes, end } = store.read(userId, (db) => ledgerPage(db, from, PAGE))
    put.hash.update(bytes)
    put.bytes += bytes.length
    yield bytes
    after = end
  }
}

/** Names that are written down at most; each put and each dropped generation that fails in a row is one. */
const UNPOINTED_MAX = 16

/** The record with names among those that count for nobody, but for those that do. */
export function unpoint(record: CheckpointRecord, names: readonly string[]): CheckpointRecord {
  const counts = new Set(record.snapshots.map(({ name }) => name))
  const all = new Set([...(record.unpointed ?? []), ...names])
  return { ...record, unpointed: [...all].filter((name) => !counts.has(name)).slice(-UNPOINTED_MAX) }
}

/** The generations with the new one before them, and the names of those that are dropped. */
export function addGeneration(
  pointer: SnapshotPointer,
  before: readonly SnapshotPointer[],
): { kept: SnapshotPointer[]; dropped: string[] } {
  const all = [pointer, ...before.filter(({ name }) => name !== pointer.name)]
  return { kept: all.slice(0, KEPT), dropped: all.slice(KEPT).map(({ name }) => name) }
}
