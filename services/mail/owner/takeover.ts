/**
 * Take-over of a user: read the checkpoint, make it mine, choose the base, adopt the database, read the stream back, choose
 * the lanes. From T3 on a zombie's checkpoint fails, from T5a its writes.
 */
import type { Log } from '#shared/log.ts'
import { compareEpochs, type Epoch, stateName, toSeconds } from '../base/model.ts'
import { type Revised, RevisionConflict } from '../kv/account-record.ts'
import type { CheckpointRecord, Checkpoints, SnapshotPointer } from '../kv/checkpoint.ts'
import type { Snapshots } from '../outbox/snapshots.ts'
import type { StreamFacts } from '../outbox/stream-facts.ts'
import { knownSeq } from '../store/known.ts'
import { ledgerEnd } from '../store/ledger.ts'
import { type Meta, readMeta, startRebuild } from '../store/meta.ts'
import { StaleEpochError, type UserStore } from '../store/user-store.ts'
import { fromStart, gapBefore, isSafe, type Stream, snapshotsByUse, type Times } from './base.ts'
import { applyLanes, finishRebuild, proofsOf, type RebuildDeps, takeEntries } from './rebuild.ts'
import { unpoint } from './snapshotter.ts'

const CAS_ROUNDS = 5

/**
 * What the user goes on from.
 * local: a database that is as new as the checkpoint's lanes · stale: one that another instance has overtaken since ·
 * snapshot: the ledger from the object store · stream: nothing but the stream, which still holds everything ·
 * gap: nothing that knows all that was published · new: the user's first database
 */
export type Base = 'local' | 'stale' | 'snapshot' | 'stream' | 'gap' | 'new'

/** The database is made out of what others have left. */
const isRebuilt = (base: Base): boolean => base === 'snapshot' || base === 'stream' || base === 'gap'

export type TakeoverDeps = RebuildDeps & {
  checkpoints: Checkpoints
  snapshots: Pick<Snapshots, 'get'>
  log: Log
  /**
   * T6: what the stream holds of the user goes into the ledger of the adopted database.
   * @returns the sequence of the newest message on the subject; null when nothing was read
   */
  readBack(): Promise<number | null>
  /** The stream of events as it is now; may be a second old. */
  streamFacts(): Promise<StreamFacts>
  /** The stream has a message at the sequence. */
  streamHolds(seq: number): Promise<boolean>
  /** How long the stream keeps events, ms. */
  retentionMs: number
}

type Choice = {
  base: Base
  /** What is to be taken into the ledger, and where it ends. */
  ledger: { pointer: SnapshotPointer; bytes: Uint8Array } | null
  /** Epoch seconds by account; of what is not named every event is known or on the stream. */
  gaps: Record<string, number>
  /** Snapshots that a later take-over may still go on from. */
  snapshots: SnapshotPointer[]
}
/** What the disk has of the user; `wasLost` when there was more. */
type Disk = { local: Meta | null; end: number; wasLost: boolean }
type Found = { before: CheckpointRecord | null; isUnreadable: boolean; checkpoint: Revised<CheckpointRecord> }

/**
 * T2–T6 for one user.
 * @returns the base and the checkpoint as it now stands, written under `epoch`; `isNews` = a next one has more to say;
 * `last` = what was just read back, null when nothing was.
 * @throws StaleEpochError when a later owner was here first; errors of NATS and the disk: then it may be called again.
 */
export async function takeOver(
  userId: string,
  epoch: Epoch,
  owner: string,
  deps: TakeoverDeps,
): Promise<{ base: Base; checkpoint: Revised<CheckpointRecord>; isNews: boolean; last: number | null }> {
  const { store } = deps
  const disk = lookAtDisk(userId, deps)
  const found = await claim(userId, epoch, owner, disk, deps)
  const { before } = found
  let { checkpoint } = found
  const { base, ledger, gaps, snapshots } = await choose(userId, disk, found, deps)
  store.adopt(userId, epoch, isRebuilt(base), isOutdated(disk, epoch, before))
  if (isRebuilt(base)) {
    if (disk.local === null) store.commit(userId, epoch, startRebuild)
    if (ledger !== null) await takeEntries(userId, epoch, ledger, deps)
  }
  const hasAll = before === null || base === 'local' || base === 'gap' || knowsEnd(userId, before, store)
  // What was published from another disk is known before anything is fetched.
  const last = base === 'local' || base === 'new' ? null : await deps.readBack()
  const lanes = hasAll || isOnStream(userId, before, store) ? (before?.lanes ?? null) : null
  if (lanes === null && before !== null) checkpoint = await noteLoss(userId, epoch, checkpoint, deps)
  const proofs = proofsOf(lanes === null ? null : before)
  // A gap stays one on the next disk.
  if (isRebuilt(base))
    finishRebuild(userId, epoch, { lanes: lanes ?? {}, gaps: { ...before?.gaps, ...gaps }, proofs }, deps)
  else if (base === 'stale' && lanes !== null) applyLanes(userId, epoch, { lanes, proofs }, deps)
  // Positions may pass over what was read back as soon as the record names it, and not before: see `knowsEnd`.
  const hasLearned = last !== null && last !== before?.pub
  const isNews =
    before === null || hasLearned || Object.keys(gaps).length > 0 || snapshots.length < before.snapshots.length
  // What is left out here is gone from the record with the next write, and from the store after it.
  const all = before?.snapshots.map(({ name }) => name) ?? []
  return {
    base,
    checkpoint: { ...checkpoint, record: unpoint({ ...checkpoint.record, snapshots }, all) },
    isNews,
    last,
  }
}

/**
 * Positions of a checkpoint count where all that they have passed is known: up to the event that it names last. A stream
 * that went back may have lost events that only another disk knows. Then this disk goes on from its own positions, or
 * walks from the start: it passes over what it knows, and publishes the rest anew.
 */
function knowsEnd(userId: string, { pub, pubEventId, streamCreatedMs }: CheckpointRecord, store: UserStore): boolean {
  if (pubEventId === null) return true
  return store.read(userId, (db) => {
    return readMeta(db)?.streamCreatedMs === streamCreatedMs && knownSeq(db, pubEventId) === pub
  })
}

/** The same after the stream was read back. Of another stream than that of the checkpoint the base knows all. */
const isOnStream = (userId: string, before: CheckpointRecord, store: UserStore): boolean =>
  store.read(userId, (db) => readMeta(db)?.streamCreatedMs !== before.streamCreatedMs) ||
  knowsEnd(userId, before, store)

/** What this term publishes anew may come to stand where other disks know something else: they are told before. */
async function noteLoss(
  userId: string,
  epoch: Epoch,
  { record, revision }: Revised<CheckpointRecord>,
  { checkpoints, log }: TakeoverDeps,
): Promise<Revised<CheckpointRecord>> {
  log.error({ pub: record.pub }, 'the stream has lost what others published; it is fetched anew')
  const noted = { ...record, lostEpoch: epoch }
  return { record: noted, revision: await checkpoints.write(userId, noted, revision) }
}

/**
 * Since the disk was last used, somebody has, or may have, published anew what the stream had lost. The last event that the
 * disk knows may by chance stand where it knows it, behind others than those that it knows: all of it is compared.
 */
function isOutdated({ local }: Disk, epoch: Epoch, before: CheckpointRecord | null): boolean {
  if (local === null) return false
  const isOfThisEra = local.epoch.era === epoch.era
  return !isOfThisEra || (before?.lostEpoch !== undefined && compareEpochs(local.epoch, before.lostEpoch) < 0)
}

const lanesEpoch = (record: CheckpointRecord): Epoch => record.lanesEpoch ?? record.epoch

/** T2 and T3: the checkpoint under the new epoch and owner; everything else of it stays. */
async function claim(
  userId: string,
  epoch: Epoch,
  owner: string,
  { local, wasLost }: Disk,
  { checkpoints, clock }: TakeoverDeps,
): Promise<Found> {
  for (let round = 1; ; round++) {
    const { record: before, revision: replaced } = await checkpoints.look(userId)
    if (before !== null && compareEpochs(before.epoch, epoch) > 0) throw new StaleEpochError(epoch, before.epoch)
    const isUnreadable = before === null && replaced !== null
    const isNew = local === null && !wasLost && !isUnreadable
    const record: CheckpointRecord = {
      ...(before ?? firstCheckpoint(toSeconds(clock.wallMs()), isNew, epoch)),
      lanesEpoch: before === null ? epoch : lanesEpoch(before),
      epoch,
      owner,
    }
    try {
      const revision = await checkpoints.write(userId, record, replaced)
      return { before, isUnreadable, checkpoint: { record, revision } }
    } catch (error) {
      if (!(error instanceof RevisionConflict) || round === CAS_ROUNDS) throw error
    }
  }
}

/**
 * Of a user who is not new nobody knows since when there may be events. There may have been a record before, which NATS has
 * lost with events that another disk knows: to such a disk this term is one that published anew.
 */
const firstCheckpoint = (nowS: number, isNew: boolean, lostEpoch: Epoch) => ({
  v: 1 as const,
  lostEpoch,
  lanes: {},
  pub: 0,
  pubEventId: null,
  streamCreatedMs: null,
  snapshots: [],
  unsavedSince: null,
  gaps: {},
  bornS: isNew ? nowS : null,
  firstStreamMs: null,
  accounts: [],
  ts: nowS,
})

/** Nothing is ever deleted. */
function lookAtDisk(userId: string, { store, log }: TakeoverDeps): Disk {
  const file = store.inspect(userId)
  if (file === 'corrupt') {
    const renamed = store.setAside(userId) !== null
    log.error({ renamed }, 'a user database is corrupt; it was set aside and is built anew')
  }
  if (file !== 'usable') return { local: null, end: 0, wasLost: file === 'corrupt' }
  const [local, end] = store.read(userId, (db) => [readMeta(db), ledgerEnd(db).seq])
  // A ledger that was being taken over when the process ended is no whole one.
  return local === null || local.rebuilding ? { local: null, end: 0, wasLost: true } : { local, end, wasLost: false }
}

/** T4. A user with a checkpoint and without a usable file has lost a disk and is not new. */
async function choose(
  userId: string,
  { local, end, wasLost }: Disk,
  { before, isUnreadable }: Found,
  deps: TakeoverDeps,
): Promise<Choice> {
  const all = before?.snapshots ?? []
  const plain = (base: Base, snapshots = all): Choice => ({ base, ledger: null, gaps: {}, snapshots })
  if (before === null && !isUnreadable && local !== null) return plain('local')
  if (before === null && !isUnreadable && !wasLost) return plain('new')
  // Claims in between do not count: an owner that wrote no lanes has moved nothing that anybody can go on from.
  const isNewest = local !== null && (before === null || compareEpochs(local.epoch, lanesEpoch(before)) >= 0)
  const keep = plain(isNewest ? 'local' : 'stale')
  // Nobody has owned the user since: nobody has published anything that is not known here.
  if (local !== null && before !== null && compareEpochs(local.epoch, before.epoch) === 0) return keep
  const stream = await lookAtStream(before, deps)
  const times: Times = { nowS: toSeconds(deps.clock.wallMs()), retentionS: deps.retentionMs / 1_000 }
  if (local !== null && isSafe({ ...local, last: end }, before, stream, times)) return keep
  const { whole, rest } = await firstWhole(before === null ? [] : snapshotsByUse(before, stream, times), deps)
  const snapshots = all.filter((pointer) => rest.has(pointer))
  if (whole?.safe === true) return { base: 'snapshot', ledger: whole, gaps: {}, snapshots }
  if (isSafe(fromStart(before), before, stream, times)) return plain('stream', snapshots)
  deps.log.error({ snapshots: all.length }, 'nobody knows all that was published: a gap')
  // What was connected since, or is connected later, has published nothing that could be in doubt.
  const connected = (): string[] => deps.accounts.ofUser(userId).map((entry) => stateName(entry.account))
  const doubtful = before === null ? connected() : Object.keys(before.lanes)
  const atS = gapBefore(before, stream, times)
  return { base: 'gap', ledger: whole, gaps: Object.fromEntries(doubtful.map((key) => [key, atS])), snapshots: [] }
}

/** A stream that went back has lost what it lacks, and everybody with it: that is published again. */
async function lookAtStream(before: CheckpointRecord | null, deps: TakeoverDeps): Promise<Stream> {
  const facts = await deps.streamFacts()
  const isHere = before !== null && before.streamCreatedMs === facts.createdMs
  const hasPassed = isHere && before.pub > 0 && before.pub <= facts.lastSeq
  return { ...facts, lacksPub: hasPassed && !(await deps.streamHolds(before.pub)) }
}

type Candidate = { pointer: SnapshotPointer; safe: boolean }

/** The first snapshot that is there and whole, and all that were not found to be otherwise. */
async function firstWhole(
  candidates: readonly Candidate[],
  { snapshots, log }: TakeoverDeps,
): Promise<{ whole: (Candidate & { bytes: Uint8Array }) | null; rest: Set<SnapshotPointer> }> {
  const rest = new Set(candidates.map(({ pointer }) => pointer))
  for (const candidate of candidates) {
    const { pointer } = candidate
    const bytes = await snapshots.get(pointer.name, pointer.sha256)
    if (bytes !== null) return { whole: { ...candidate, bytes }, rest }
    log.error({ last: pointer.last }, 'a snapshot is gone or damaged')
    rest.delete(pointer)
  }
  return { whole: null, rest }
}
