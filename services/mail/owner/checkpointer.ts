/**
 * W4: the lanes of a user into `mail_state`, but only lanes whose mail is published. What they had passed when they were
 * captured is in the stream before they are written: a checkpoint never runs ahead of the events.
 */
import type { AccountStatus } from '#shared/contract.ts'
import type { Log } from '#shared/log.ts'
import { type AccountRef, compareEpochs, type Epoch, type LaneState, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { Wake } from '../base/wake.ts'
import { type Revised, RevisionConflict } from '../kv/account-record.ts'
import type { CheckpointRecord, Checkpoints } from '../kv/checkpoint.ts'
import { queueDepth } from '../store/fetch-queue.ts'
import { readLanes } from '../store/lanes.ts'
import { readMeta } from '../store/meta.ts'
import { allPublishedUpTo, outboxDepth } from '../store/outbox-rows.ts'
import { CorruptError } from '../store/sqlite.ts'
import { StaleEpochError, type UserStore } from '../store/user-store.ts'
import { laneKey } from './takeover.ts'

/**
 * After new mail; after a mere move of positions, which Graph's links make at each poll: an old position costs the next
 * owner without the disk a walk, a write per poll would cost everybody.
 */
const MAIL_EVERY_MS = 1_000
const CURSOR_EVERY_MS = 600_000
const RETRY_MS = 1_000

export type CheckpointerDeps = {
  checkpoints: Checkpoints
  store: UserStore
  clock: Clock
  log: Log
  owns(): boolean
  accounts(): AccountRef[]
  statuses(): AccountStatus[]
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

  constructor(userId: string, epoch: Epoch, checkpoint: Revised<CheckpointRecord>, deps: CheckpointerDeps) {
    this.#userId = userId
    this.#epoch = epoch
    this.#current = checkpoint
    this.#deps = deps
  }

  /** Something changed that the next owner should know. */
  changed(cursorOnly: boolean): void {
    const due = this.#deps.clock.monoMs() + (cursorOnly ? CURSOR_EVERY_MS : MAIL_EVERY_MS)
    if (due >= this.#dueMs) return
    this.#dueMs = due
    this.#wake.ring()
  }

  /** Rows were published: what was captured may be ready. */
  published(): void {
    if (this.#captured !== null) this.#wake.ring()
  }

  /** Writes checkpoints until the signal aborts. @throws StaleEpochError when a later owner has written. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps
    while (!signal.aborted) {
      const waitMs = this.#captured === null ? this.#dueMs - clock.monoMs() : RETRY_MS
      if (waitMs > 0) await this.#wake.rest(waitMs, clock, signal)
      if (signal.aborted) return
      if (this.#captured === null && clock.monoMs() >= this.#dueMs) {
        this.#dueMs = Number.POSITIVE_INFINITY
        this.#captured = this.#capture()
      }
      await this.#writeIfPublished().catch((error) => this.#unlessPassing(error))
    }
  }

  /** NATS or the disk does not answer: what was captured stays, and is written when they do. Nothing else is passing. */
  #unlessPassing(error: unknown): void {
    if (error instanceof StaleEpochError || error instanceof RevisionConflict || error instanceof CorruptError)
      throw error
    this.#deps.log.warn({ err: error }, 'a checkpoint could not be written yet')
  }

  /** The last checkpoint of a term, after worker and relay have stopped. Positions of unpublished mail are left out. */
  async flush(): Promise<void> {
    this.#captured = this.#capture()
    await this.#writeIfPublished()
  }

  /** Lanes and the newest outbox row in one read transaction. */
  #capture(): Captured {
    return this.#deps.store.read(this.#userId, (db) => ({
      lanes: Object.fromEntries(
        this.#deps.accounts().map((account) => {
          const { entries } = queueDepth(db, account)
          const lanes = readLanes(db, account)
          return [laneKey(account), entries === 0 ? lanes : this.#withoutQueue(account, lanes)]
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
    if (!lanes.some((lane) => lane.lane === 'enum')) return this.#current.record.lanes[laneKey(account)] ?? []
    return lanes.map((lane) => (lane.lane === 'enum' ? { ...lane, cursor: null, done: false } : lane))
  }

  async #writeIfPublished(): Promise<void> {
    const captured = this.#captured
    if (captured === null || !this.#deps.owns()) return
    const published = this.#deps.store.read(this.#userId, (db) => allPublishedUpTo(db, captured.lastId))
    if (!published && this.#deps.early !== true) return
    await this.#write(captured)
    this.#captured = null
  }

  async #write({ lanes }: Captured): Promise<void> {
    const { store, clock, checkpoints } = this.#deps
    const meta = store.read(this.#userId, readMeta)
    const record: CheckpointRecord = {
      ...this.#current.record,
      lanes,
      lanesEpoch: this.#epoch,
      pub: meta?.lastSeq ?? 0,
      pubEventId: meta?.lastEventId ?? null,
      accounts: this.#deps.statuses().map((status) => ({ ...status, live: false })),
      ts: toSeconds(clock.wallMs()),
    }
    try {
      this.#current = { record, revision: await checkpoints.write(this.#userId, record, this.#current.revision) }
    } catch (error) {
      await this.#examine(error)
    }
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
