/**
 * The object store `mail_snapshots`: ledgers of users, put piece by piece and read whole. It knows no user, no database and no
 * checkpoint; which object counts is said by the pointer in `mail_state`.
 */
import { createHash } from 'node:crypto'
import { type JetStreamClient, type JetStreamManager, StorageType } from '@nats-io/jetstream'
import { type ObjectStore, Objm } from '@nats-io/obj'
import PQueue from 'p-queue'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import {
  BUCKET_SNAPSHOTS,
  SNAPSHOT_STREAM,
  snapshotChunkSubject,
  snapshotOfRecord,
  snapshotPrefix,
  snapshotRecordSubject,
  snapshotRecordSubjects,
} from '#shared/subjects.ts'
import { eraseMessages } from '../kv/erase-messages.ts'

/** Snapshots that are on their way at the same time; what is read back is held in memory as a whole. */
const PARALLEL = 4
const PUT_TIMEOUT_MS = 5_000

export class Snapshots {
  readonly #store: ObjectStore
  /** Creation time of the store behind it, epoch ms: one that is made anew has none of the objects. */
  #createdMs: number
  readonly #jsm: JetStreamManager
  /** Bound: the users that are owned. Each is taken over, or puts one snapshot, at a time. */
  readonly #turns = new PQueue({ concurrency: PARALLEL })

  private constructor(store: ObjectStore, jsm: JetStreamManager, createdMs: number) {
    this.#store = store
    this.#createdMs = createdMs
    this.#jsm = jsm
  }

  /** Opens the store, making it when it is absent. @throws ExitError 78 when it exists with settings that lose data. */
  static async open(js: JetStreamClient, jsm: JetStreamManager, replicas: number): Promise<Snapshots> {
    const store = await new Objm(js).create(BUCKET_SNAPSHOTS, { storage: StorageType.File, replicas })
    const { config, created } = await jsm.streams.info(SNAPSHOT_STREAM)
    for (const [field, found, wanted] of [
      ['storage', config.storage, StorageType.File],
      ['max_age', config.max_age, 0],
      ['discard', config.discard, 'new'],
      ['max_msgs', config.max_msgs, -1],
    ] as const)
      if (found !== wanted)
        throw new ExitError(
          EXIT_CONFIG,
          `object store ${BUCKET_SNAPSHOTS}: ${field} is ${found}, ${wanted} is needed; delete or mend the store`,
        )
    return new Snapshots(store, jsm, Date.parse(created))
  }

  get createdMs(): number {
    return this.#createdMs
  }

  /** Looks again, and makes the store anew when it is gone. @throws as `open` does */
  async verify(js: JetStreamClient, replicas: number): Promise<void> {
    this.#createdMs = (await Snapshots.open(js, this.#jsm, replicas)).createdMs
  }

  /** A bounded number at the same time. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.add(work)
  }

  /**
   * Puts an object out of its pieces, in the place of one of the same name. It is there when the last one is; the next piece is
   * asked for when those before it are stored. @throws what the pieces throw, and errors of NATS: then nothing is put
   */
  async put(name: string, pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
    await this.#store.put({ name }, ReadableStream.from(pieces), { timeout: PUT_TIMEOUT_MS })
  }

  /**
   * The object, if it is whole and has this SHA-256; else null. Each message is asked of the stream's leader: the
   * library's own `get` makes a consumer for each object and waits for ever for a chunk that is not there.
   */
  get(name: string, sha256: string): Promise<Uint8Array | null> {
    return this.#turns.add(async () => {
      const info = await this.#store.info(name)
      if (info === null || info.deleted) return null
      const chunks: Uint8Array[] = []
      const subject = snapshotChunkSubject(info.nuid)
      for (let seq = 1; chunks.length < info.chunks; seq++) {
        // Known to every server that we take; the type of the library knows it for direct gets only.
        const query = { seq, next_by_subj: subject }
        const chunk = await this.#jsm.streams.getMessage(SNAPSHOT_STREAM, query)
        if (chunk === null) return null
        chunks.push(chunk.data)
        seq = chunk.seq
      }
      const bytes = Buffer.concat(chunks)
      return digestOf(bytes) === sha256 ? bytes : null
    })
  }

  /**
   * Deletes the object; nothing happens when it is not there. The library's own `delete` leaves the record of it for
   * ever, one for each snapshot that any user has ever had.
   */
  async remove(name: string): Promise<void> {
    const info = await this.#store.info(name)
    if (info === null) return
    // The record last: without it nobody would find the chunks.
    await this.#jsm.streams.purge(SNAPSHOT_STREAM, { filter: snapshotChunkSubject(info.nuid) })
    await this.#jsm.streams.purge(SNAPSHOT_STREAM, { filter: snapshotRecordSubject(name) })
  }

  /**
   * Erases what there is of a user up to a sequence of the store. All names are looked through: a checkpoint that was lost
   * took along which ones are the user's.
   */
  async eraseAllOf(userId: string, upTo: number, signal: AbortSignal): Promise<void> {
    const { state } = await this.#jsm.streams.info(SNAPSHOT_STREAM, { subjects_filter: snapshotRecordSubjects() })
    const names = Object.keys(state.subjects ?? {}).map(snapshotOfRecord)
    for (const name of names.filter((one) => one.startsWith(snapshotPrefix(userId)))) {
      const info = await this.#store.info(name)
      // The record last: without it nobody would find the chunks.
      const subjects = [...(info === null ? [] : [snapshotChunkSubject(info.nuid)]), snapshotRecordSubject(name)]
      for (const subject of subjects) await eraseMessages(this.#jsm, SNAPSHOT_STREAM, subject, upTo, signal)
    }
  }
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64url')
