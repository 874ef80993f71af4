/**
 * `mail_state`: what the next owner of a user needs when it has no file of theirs, and what status answers when the
 * owner does not. Every write is a compare-and-set; a zombie's write fails on the revision.
 */
import * as v from 'valibot'
import { AccountStatus } from '#shared/contract.ts'
import { stateKey } from '#shared/subjects.ts'
import { compareEpochs, type Epoch, isFolderLane, type LaneState } from '../base/model.ts'
import { type Revised, RevisionConflict } from './account-record.ts'
import type { Bucket } from './bucket.ts'
import { readRecord } from './parse.ts'
import { openLanes, sealLanes } from './sealed-lanes.ts'

const MAX_BYTES = 512 * 1024

const Lane = v.object({
  lane: v.string(),
  cursor: v.nullable(v.string()),
  done: v.boolean(),
  notBeforeMs: v.number(),
  failures: v.number(),
  syncedMs: v.number(),
  resets: v.number(),
  resetMs: v.number(),
})

/** Where a ledger of the user stands in the object store, and up to where it is complete. */
export const SnapshotPointer = v.object({
  name: v.string(),
  /** SHA-256 of the object, base64url. */
  sha256: v.string(),
  /** Entries. */
  mails: v.number(),
  /** It holds every event up to this sequence of the stream that was made at `streamCreatedMs`. */
  last: v.number(),
  lastEventId: v.nullable(v.string()),
  streamCreatedMs: v.nullable(v.number()),
  /** Creation time of the object store that it was put into, epoch ms. */
  storeCreatedMs: v.number(),
  /** Epoch seconds when it was last certain that it holds everything published. */
  coveredS: v.number(),
})
export type SnapshotPointer = v.InferOutput<typeof SnapshotPointer>

export const CheckpointRecord = v.object({
  v: v.literal(1),
  epoch: v.object({ era: v.number(), rev: v.number() }),
  /** sid of the owner that wrote it. */
  owner: v.string(),
  /** Lanes by `<provider>.<inbox>`; all they have passed is published. */
  lanes: v.record(v.string(), v.array(Lane)),
  /** The term that wrote the lanes; absent in older records, where it is `epoch`. */
  lanesEpoch: v.optional(v.object({ era: v.number(), rev: v.number() })),
  /**
   * The newest term that found events lost which it did not know, or no record: what earlier ones know of the stream may be
   * wrong since. Absent in older records.
   */
  lostEpoch: v.optional(v.object({ era: v.number(), rev: v.number() })),
  /** Sequence and event id up to which everything of the user's subject was known. It does not fall when events age out. */
  pub: v.number(),
  pubEventId: v.nullable(v.string()),
  /** Creation time of the stream that `pub` belongs to, epoch ms; absent in older records. */
  streamCreatedMs: v.optional(v.nullable(v.number()), null),
  /** The newest first. */
  snapshots: v.array(SnapshotPointer),
  /** Objects that may be in the store and count for nobody: named before they are put, and when they are dropped. */
  unpointed: v.optional(v.array(v.string())),
  /** Epoch seconds since which there is something that the newest snapshot does not have; null = nothing. */
  unsavedSince: v.optional(v.nullable(v.number()), null),
  /** Epoch seconds by `<provider>.<inbox>` before which mail that a walk finds is not published: see ADR 0014. */
  gaps: v.optional(v.record(v.string(), v.number()), {}),
  /** Epoch ms by `<provider>.<inbox>` since when the mailbox is quiet; what is absent is so for ever. */
  newsMs: v.optional(v.record(v.string(), v.number())),
  /** Epoch seconds when the user had their first owner; null = not known. */
  bornS: v.optional(v.nullable(v.number()), null),
  /** Creation time of the stream that the user's first checkpoint speaks of, epoch ms; null = not known. */
  firstStreamMs: v.optional(v.nullable(v.number()), null),
  accounts: v.array(AccountStatus),
  /** Epoch seconds. */
  ts: v.number(),
})
export type CheckpointRecord = v.InferOutput<typeof CheckpointRecord>

/** As it stands in the bucket: the lanes of an account are sealed if it has a key for it. */
const parse = readRecord(
  v.object({ ...CheckpointRecord.entries, lanes: v.record(v.string(), v.union([v.array(Lane), v.string()])) }),
)
const parseLanes = readRecord(v.array(Lane))
type Stored = LaneState[] | string
/** Seals with what the account's record has, by `<provider>.<inbox>`; null = it has no key. */
type KeyOf = (userId: string, account: string) => string | null

export class Checkpoints {
  readonly #bucket: () => Bucket
  readonly #compares: boolean
  readonly #keyOf: KeyOf
  /** Users whose checkpoint was looked at over the present connection; as many as this instance has had since. */
  #seen = { connection: '', users: new Set<string>() }
  /** Called for each write that is refused because a later term has the checkpoint. */
  onRefused: () => void = () => undefined

  /** @param options `compare: false` is a control arm of tests: what a past term writes replaces whatever stands there. */
  constructor(bucket: () => Bucket, options: { compare?: false; keyOf?: KeyOf } = {}) {
    this.#bucket = bucket
    this.#keyOf = options.keyOf ?? (() => null)
    this.#compares = options.compare !== false
  }

  async read(userId: string): Promise<Revised<CheckpointRecord> | null> {
    const { record, revision } = await this.#fetch(userId)
    return record === null || revision === null ? null : { record, revision }
  }

  /**
   * What stands there, by one read: the revision also of a value that cannot be read, so that it can be replaced. A second
   * read might find what somebody else has written meanwhile.
   */
  async look(userId: string): Promise<{ record: CheckpointRecord | null; revision: number | null }> {
    const { connection } = this.#bucket()
    const found = await this.#fetch(userId)
    this.#note(userId, connection)
    return found
  }

  async #fetch(userId: string): Promise<{ record: CheckpointRecord | null; revision: number | null }> {
    const found = await this.#bucket().read(stateKey(userId))
    const stored = found === null ? null : parse(found.value)
    const record = stored === null ? null : { ...stored, lanes: this.#opened(userId, stored.lanes) }
    return { record, revision: found?.revision ?? null }
  }

  /** Lanes that nobody can open are left out: the account is walked from the start, and what is known keeps it silent. */
  #opened(userId: string, stored: Record<string, Stored>): CheckpointRecord['lanes'] {
    const opened = Object.entries(stored).map(([account, lanes]): [string, LaneState[] | null] => {
      if (typeof lanes !== 'string') return [account, lanes]
      const key = this.#keyOf(userId, account)
      const text = key === null ? null : openLanes(key, `${userId} ${account}`, lanes)
      return [account, text === null ? null : parseLanes(text)]
    })
    return Object.fromEntries(opened.filter((entry): entry is [string, LaneState[]] => entry[1] !== null))
  }

  #sealed(userId: string, lanes: CheckpointRecord['lanes']): Record<string, Stored> {
    const seal = ([account, its]: [string, LaneState[]]): [string, Stored] => {
      const key = this.#keyOf(userId, account)
      return [account, key === null ? its : sealLanes(key, `${userId} ${account}`, its)]
    }
    return Object.fromEntries(Object.entries(lanes).map(seal))
  }

  #note(userId: string, connection: string): void {
    if (connection !== this.#bucket().connection) return
    if (connection !== this.#seen.connection) this.#seen = { connection, users: new Set() }
    this.#seen.users.add(userId)
  }

  /**
   * A server that went back gives revisions out anew, so that what was seen over an earlier connection may by chance be what
   * a later term has written since. It is looked at again before it is replaced.
   * @throws RevisionConflict
   */
  async #confirm(userId: string, { epoch }: CheckpointRecord, revision: number | null): Promise<void> {
    const { connection, users } = this.#seen
    if (connection === this.#bucket().connection && users.has(userId)) return
    const found = await this.look(userId)
    const isLater = found.record !== null && compareEpochs(found.record.epoch, epoch) > 0
    if (isLater || found.revision !== revision) throw new RevisionConflict(stateKey(userId))
  }

  /** Compare-and-set; above 512 KiB the positions changed longest ago are left out. @throws RevisionConflict */
  async write(userId: string, record: CheckpointRecord, revision: number | null): Promise<number> {
    try {
      if (this.#compares) await this.#confirm(userId, record, revision)
      const expected = this.#compares ? revision : (await this.#fetch(userId)).revision
      return await this.#bucket().write(stateKey(userId), this.#fit(userId, record), expected)
    } catch (error) {
      if (error instanceof RevisionConflict && (await this.#isOverBy(userId, record.epoch))) this.onRefused()
      throw error
    }
  }

  /** Whether a later term has written; when nobody can say, whoever looks next meets the same fault. */
  async #isOverBy(userId: string, epoch: Epoch): Promise<boolean> {
    const found = await this.read(userId).catch(() => null)
    return found !== null && compareEpochs(found.record.epoch, epoch) > 0
  }

  /**
   * The lane of a folder that is left out is made again by the lane of the folders, and walked from the start; what is known
   * keeps it silent. No other lane comes again by itself.
   */
  #fit(userId: string, record: CheckpointRecord): string {
    const textOf = (lanes: CheckpointRecord['lanes']): string =>
      JSON.stringify({ ...record, lanes: this.#sealed(userId, lanes) })
    let text = textOf(record.lanes)
    if (Buffer.byteLength(text) <= MAX_BYTES) return text
    const oldestFirst = Object.values(record.lanes)
      .flat()
      .filter(({ lane }) => isFolderLane(lane))
      .toSorted((a, b) => a.syncedMs - b.syncedMs)
    for (let drop = 1; Buffer.byteLength(text) > MAX_BYTES && drop < 2 * oldestFirst.length; drop *= 2) {
      const dropped = new Set(oldestFirst.slice(0, drop))
      const kept = Object.entries(record.lanes).map(([key, lanes]): [string, LaneState[]] => [
        key,
        lanes.filter((lane) => !dropped.has(lane)),
      ])
      text = textOf(Object.fromEntries(kept))
    }
    return text
  }
}
