/**
 * W4 to W7: the lanes of a user into `mail_state`, but only lanes whose mail is published, so that a checkpoint never runs
 * ahead of the events. And from time to time the ledger into the object store, and the pointer to it into the same record.
 */
import type { AccountStatus } from '#shared/contract.ts'
import type { Log } from '#shared/log.ts'
import {
  type AccountRef,
  compareEpochs,
  type Epoch,
  isRewalk,
  type LaneState,
  stateName,
  toSeconds,
} from '../base/model.ts'
import { MOMENT_MS } from '../base/slot.ts'
import type { Clock } from '../base/time.ts'
import { Wake } from '../base/wake.ts'
import { type Revised, RevisionConflict } from '../kv/account-record.ts'
import type { CheckpointRecord, Checkpoints } from '../kv/checkpoint.ts'
import type { Snapshots } from '../outbox/snapshots.ts'
import { hasQueued } from '../store/fetch-queue.ts'
import { readLanes } from '../store/lanes.ts'
import { freshEntries, ledgerSize } from '../store/ledger.ts'
import { readMeta, setCovered } from '../store/meta.ts'
import { allPublishedUpTo, outboxDepth } from '../store/outbox-rows.ts'
import { CorruptError } from '../store/sqlite.ts'
import { StaleEpochError, type UserStore } from '../store/user-store.ts'
import { type Known, nextRecord } from './checkpoint-record.ts'
import { knownOf } from './known-of.ts'
import { addGeneration, enoughFresh, isSnapshotDue, renewalS, takeSnapshot, unpoint } from './snapshotter.ts'

/** After mail: a second, and half way between two moments of polls, because the next mail of somebody may come with each of those. */
const MAIL_EVERY_MS = 1_000 + MOMENT_MS / 2
/** After a mere move of positions, as at each poll of Graph: an old one costs the next owner without the disk a walk. */
const CURSOR_EVERY_MS = 600_000
const RETRY_MS = 1_000
/** A snapshot that could not be put is tried again with a checkpoint after this long. */
const SAVE_AGAIN_MS = 60_000

export type CheckpointerDeps = {
  checkpoints: Checkpoints
  snapshots: Pick<Snapshots, 'put' | 'remove' | 'inTurn' | 'createdMs'>
  /** How long the stream keeps events, ms. */
  retentionMs: number
  store: UserStore
  clock: Clock
  log: Log
  owns(): boolean
  accounts(): AccountRef[]
  statuses(): AccountStatus[]
  /** See `CheckpointRecord.newsMs`. */
  newsMs(): Record<string, number>
  /** Lanes by account as the workers left them, if the database would say nothing else; null = ask it. */
  lanes(): Record<string, LaneState[]> | null
  /** Test-only control arm: write lanes before their mail is published. */
  early?: boolean
}

type Captured = { lanes: Record<string, LaneState[]>; lastId: number }

export class Checkpointer {
  readonly #userId: string
  readonly #epoch: Epoch
  readonly #deps: CheckpointerDeps
  #current: Revised<CheckpointRecord>
  readonly #wake = new Wake()
  #dueMs = Number.POSITIVE_INFINITY
  #captured: Captured | null = null
  /** What is not in the record yet. */
  #behind: 'nothing' | 'positions' | 'mail' = 'nothing'
  #writing = false
  #halted = false

  constructor(userId: string, epoch: Epoch, checkpoint: Revised<CheckpointRecord>, deps: CheckpointerDeps) {
    this.#userId = userId
    this.#epoch = epoch
    this.#current = checkpoint
    this.#deps = deps
  }

  /** What was last said, by this owner or the one before. */
  get last(): CheckpointRecord {
    return this.#current.record
  }

  /** The record says all there is. */
  get isWritten(): boolean {
    return this.#behind === 'nothing' && this.#captured === null && !this.#writing
  }

  /** Something changed that the next owner should know. */
  changed(cursorOnly: boolean): void {
    if (!cursorOnly || this.#behind === 'nothing') this.#behind = cursorOnly ? 'positions' : 'mail'
    this.#changedWithin(cursorOnly ? CURSOR_EVERY_MS : MAIL_EVERY_MS)
  }

  #changedWithin(ms: number): void {
    const due = this.#deps.clock.monoMs() + ms
    if (due >= this.#dueMs || this.#halted) return
    this.#dueMs = due
    this.#wake.ring()
  }

  /** Rows were published. */
  published(): void {
    if (this.#captured !== null) this.#wake.ring()
  }

  /** Writes checkpoints until the signal aborts. @throws StaleEpochError when a later owner has written. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps
    this.#renewInTime()
    while (!signal.aborted) {
      const waitMs = this.#captured === null ? this.#dueMs - clock.monoMs() : RETRY_MS
      if (waitMs > 0) await this.#wake.rest(waitMs, clock, signal)
      if (signal.aborted) return
      if (this.#halted) continue
      if (this.#captured === null && clock.monoMs() >= this.#dueMs) {
        this.#dueMs = Number.POSITIVE_INFINITY
        this.#captured = this.#capture()
      }
      this.#writing = true
      await this.#writeAndSave(signal).catch((error) => signal.aborted || this.#unlessPassing(error))
      this.#writing = false
    }
  }

  /** From here on only `flush` writes. True when nothing is being written. */
  halt(): boolean {
    this.#halted = true
    this.#dueMs = Number.POSITIVE_INFINITY
    return !this.#writing
  }

  /** A snapshot waits for nobody: it is taken when the positions are safe, and never by a term that is ending. */
  async #writeAndSave(signal: AbortSignal): Promise<void> {
    if (!(await this.#writeIfPublished())) return
    await this.#sweep(signal)
    try {
      if (this.#isSnapshotDue()) await this.#save(signal)
    } catch (error) {
      this.#changedWithin(SAVE_AGAIN_MS)
      throw error
    } finally {
      this.#renewInTime()
    }
  }

  /** A user to whom nothing happens needs a young checkpoint all the same: it says that nothing has happened. */
  #renewInTime(): void {
    const { clock, retentionMs } = this.#deps
    const { ts, unsavedSince } = this.#current.record
    const dueS = Math.min(ts, unsavedSince ?? Number.POSITIVE_INFINITY) + renewalS(retentionMs / 1_000)
    this.#changedWithin(Math.max(MAIL_EVERY_MS, dueS * 1_000 - clock.wallMs()))
  }

  /** NATS or the disk does not answer: what was captured stays, and is written when they do. */
  #unlessPassing(error: unknown): void {
    if (error instanceof StaleEpochError || error instanceof RevisionConflict || error instanceof CorruptError)
      throw error
    this.#deps.log.warn({ err: error }, 'a checkpoint could not be written yet')
  }

  /** The last checkpoint of a term, after worker and relay have stopped. Positions of unpublished mail are left out. */
  async flush(): Promise<void> {
    if (this.#behind === 'nothing' && this.#captured === null) return
    if (this.#behind === 'positions' && (await this.#flushPositions())) return
    this.#captured = this.#capture()
    await this.#writeIfPublished()
  }

  /** All mail is in the record and on the stream: many users are released at a time, and a look at the disk costs most of it. */
  async #flushPositions(): Promise<boolean> {
    const moved = this.#captured === null ? this.#deps.lanes() : null
    if (moved === null || !this.#deps.owns()) return false
    const { record } = this.#current
    this.#behind = 'nothing'
    await this.#write(this.#recordOf({ ...record.lanes, ...moved }, record))
    return true
  }

  /** Lanes and the newest outbox row in one read transaction. */
  #capture(): Captured {
    this.#behind = 'nothing'
    return this.#deps.store.read(this.#userId, (db) => ({
      lanes: Object.fromEntries(
        this.#deps.accounts().map((account) => {
          // What is gone over once more is the affair of this disk only.
          const lanes = readLanes(db, account).filter(({ lane }) => !isRewalk(lane))
          return [stateName(account), hasQueued(db, account) ? this.#withoutQueue(account, lanes) : lanes]
        }),
      ),
      lastId: outboxDepth(db).lastId,
    }))
  }

  /**
   * The fetch queue does not travel with the checkpoint, and positions that have passed what waits in it would lose it.
   * Gmail lists again (5 units per 500 ids); Graph goes on from the last checkpoint.
   */
  #withoutQueue(account: AccountRef, lanes: LaneState[]): LaneState[] {
    if (!lanes.some((lane) => lane.lane === 'enum')) return this.#current.record.lanes[stateName(account)] ?? []
    return lanes.map((lane) => (lane.lane === 'enum' ? { ...lane, cursor: null, done: false } : lane))
  }

  /** True when it was written. */
  async #writeIfPublished(): Promise<boolean> {
    const captured = this.#captured
    if (captured === null || !this.#deps.owns()) return false
    const known = this.#deps.store.read(this.#userId, (db) =>
      allPublishedUpTo(db, captured.lastId) || this.#deps.early === true ? knownOf(db) : null,
    )
    if (known === null) return false
    const record = this.#recordOf(captured.lanes, known)
    const isWritten = await this.#write(record)
    this.#captured = null
    // No later owner had claimed the user: nobody else can have published anything.
    if (isWritten) this.#deps.store.commit(this.#userId, this.#epoch, (tx) => setCovered(tx, record.ts))
    return isWritten
  }

  #recordOf(lanes: CheckpointRecord['lanes'], known: Known): CheckpointRecord {
    const nowS = toSeconds(this.#deps.clock.wallMs())
    // What is overwritten stays in the files of the server: it must name nobody. The account's own record has the address.
    const accounts = this.#deps.statuses().map((status) => ({ ...status, address: null, live: false }))
    const news = { lanes, lanesEpoch: this.#epoch, newsMs: this.#deps.newsMs(), accounts, ts: nowS }
    return nextRecord(this.#current.record, known, news)
  }

  /** False when another write was there first; then it is made again. */
  async #write(record: CheckpointRecord): Promise<boolean> {
    try {
      const revision = await this.#deps.checkpoints.write(this.#userId, record, this.#current.revision)
      this.#current = { record, revision }
      return true
    } catch (error) {
      await this.#examine(error)
      return false
    }
  }

  #isSnapshotDue(): boolean {
    const { store, clock, snapshots, retentionMs } = this.#deps
    const { record } = this.#current
    return store.read(this.#userId, (db) => {
      const meta = readMeta(db)
      if (meta === null) return false
      const size = ledgerSize(db)
      const fresh = freshEntries(db, record.snapshots[0]?.last ?? 0, enoughFresh(size))
      const hasGap = Object.keys(meta.gaps).length > 0
      const facts = { ...meta, size, fresh, hasGap, storeCreatedMs: snapshots.createdMs }
      return isSnapshotDue(record, facts, toSeconds(clock.wallMs()), retentionMs / 1_000)
    })
  }

  /** W5 and W6, then W7. */
  async #save(signal: AbortSignal): Promise<void> {
    const announce = (name: string): Promise<boolean> => this.#write(unpoint(this.#current.record, [name]))
    const pointer = await takeSnapshot(this.#userId, this.#epoch, this.#deps, announce, signal)
    if (pointer === null || !this.#deps.owns()) return
    const { record } = this.#current
    const { kept, dropped } = addGeneration(pointer, record.snapshots)
    const next = unpoint({ ...record, snapshots: kept, unsavedSince: null }, dropped)
    if (await this.#write(next)) await this.#sweep(signal)
  }

  /**
   * W7: what counts for nobody is deleted, after a write that has proved that this term is the newest. What cannot be
   * deleted now stays in the record, and whoever writes the next checkpoint tries again.
   */
  async #sweep(signal: AbortSignal): Promise<void> {
    const { unpointed = [] } = this.#current.record
    const gone = new Set<string>()
    for (const name of unpointed) {
      if (signal.aborted || !this.#deps.owns()) break
      try {
        await this.#deps.snapshots.remove(name)
        gone.add(name)
      } catch (error) {
        this.#deps.log.debug({ err: error }, 'a snapshot that counts for nobody could not be deleted yet')
      }
    }
    if (gone.size === 0) return
    const { record, revision } = this.#current
    const left = (record.unpointed ?? []).filter((name) => !gone.has(name))
    this.#current = { record: { ...record, unpointed: left }, revision }
  }

  /** Lost acknowledgement or a later owner: the key tells. */
  async #examine(cause: unknown): Promise<void> {
    const found = await this.#deps.checkpoints.read(this.#userId)
    if (found !== null && compareEpochs(found.record.epoch, this.#epoch) !== 0)
      throw new StaleEpochError(this.#epoch, found.record.epoch)
    if (found !== null) this.#current = { record: this.#current.record, revision: found.revision }
    else if (cause instanceof RevisionConflict) throw cause
    this.changed(false)
  }
}
