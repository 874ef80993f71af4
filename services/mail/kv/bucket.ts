/**
 * One KV bucket: created when absent, its settings read back and compared, every write by compare-and-set.
 * It knows no record of ours. Reads go to the leader, because a stale read would undo a compare-and-set.
 */
import {
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
} from '@nats-io/jetstream'
import { type KV, Kvm } from '@nats-io/kv'
import PQueue from 'p-queue'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { ACCOUNTS_HISTORY, BUCKET_ACCOUNTS, bucketStream, bucketSubject } from '#shared/subjects.ts'
import { ownText } from '../base/own-text.ts'
import { RevisionConflict } from './account-record.ts'
import { takesBatches } from './atomic-batch.ts'
import { readBucket } from './bucket-reader.ts'
import { eraseMessages, eraseOverwritten } from './erase-messages.ts'
import { GroupCommit } from './group-commit.ts'
import { ensureReplicas, replicated } from './replication.ts'

const REQUEST_TIMEOUT_MS = 2_000
/** What a replicated bucket answers while another write of the key is under way. */
const UNKNOWN_LAST_SEQUENCE = 10164
/**
 * Where values name people, what is overwritten is erased by whoever overwrites it: it would stay in the server's files, and
 * nobody could reach it there. Until then it is kept, so that whoever erases the user finds what a crash has left.
 */
const HISTORY: Readonly<Record<string, number>> = { [BUCKET_ACCOUNTS]: ACCOUNTS_HISTORY }
const ERASING_MAX = 10_000
const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** A raw value with its revision; `value` is null for a deleted key. */
export type RawEntry = { key: string; value: string | null; revision: number }

type Ways = { nc: NatsConnection; kv: KV; jsm: JetStreamManager; group: GroupCommit | null }

/** The KV bucket behind a connection. */
export class Bucket {
  readonly name: string
  readonly #nc: NatsConnection
  readonly #kv: KV
  readonly #jsm: JetStreamManager
  /** null: the server knows no batches. */
  readonly #group: GroupCommit | null
  /** Creation time of the stream behind the bucket, epoch ms: tells a recreated bucket from the old one. */
  readonly createdMs: number
  #highest: number
  /** Overwritten revisions that are being erased; null: this bucket's are not. Bound: ERASING_MAX. */
  readonly #overwritten: PQueue | null

  private constructor(name: string, { nc, kv, jsm, group }: Ways, createdMs: number, lastRevision: number) {
    this.name = name
    this.#nc = nc
    this.#kv = kv
    this.#jsm = jsm
    this.#group = group
    this.createdMs = createdMs
    this.#highest = lastRevision
    this.#overwritten = HISTORY[name] === undefined ? null : new PQueue({ concurrency: 2 })
  }

  /**
   * Opens the bucket, creating it when absent.
   * @param replicas least number of copies
   * @throws ExitError 78 when it exists with settings that lose data, or NATS has too few servers.
   */
  static async open(nc: NatsConnection, name: string, replicas = 1): Promise<Bucket> {
    const js = jetstream(nc, { timeout: REQUEST_TIMEOUT_MS })
    const jsm = await jetstreamManager(nc, { timeout: REQUEST_TIMEOUT_MS })
    const kvm = new Kvm(js)
    const stream = bucketStream(name)
    const wanted = HISTORY[name] ?? 1
    const options = { history: wanted, replicas, timeout: REQUEST_TIMEOUT_MS }
    await replicated(stream, replicas, () => kvm.create(name, options))
    await ensureReplicas(jsm, stream, replicas)
    let info = await jsm.streams.info(stream)
    // Made by a version that did not erase.
    if (info.config.max_msgs_per_subject === 1 && wanted > 1)
      info = await jsm.streams.update(stream, { max_msgs_per_subject: wanted })
    const { storage, max_age: maxAge, max_msgs_per_subject: history } = info.config
    for (const [field, found, needed] of [
      ['storage', storage, 'file'],
      ['max_age', maxAge, 0],
      ['history', history, wanted],
      // An evicted lease or account would be lost without a word.
      ['discard', info.config.discard, 'new'],
      ['max_msgs', info.config.max_msgs, -1],
      ['max_bytes', info.config.max_bytes, -1],
    ])
      if (found !== needed)
        throw new ExitError(
          EXIT_CONFIG,
          `bucket ${name}: ${field} is ${found}, ${needed} is needed; delete or mend the bucket`,
        )
    const kv = await kvm.open(name, { timeout: REQUEST_TIMEOUT_MS })
    const group = (await takesBatches(nc, jsm, stream)) ? new GroupCommit(nc, REQUEST_TIMEOUT_MS) : null
    return new Bucket(name, { nc, kv, jsm, group }, Date.parse(info.created), info.state.last_seq)
  }

  /** Another string after each reconnect: the server that comes back may have gone back, and give revisions out anew. */
  get connection(): string {
    const { server_id: server, client_id: client } = this.#nc.info ?? {}
    return `${server} ${client}`
  }

  /** The highest revision that was seen. Revisions never fall, unless the bucket goes backwards. */
  get highest(): number {
    return this.#highest
  }

  /** What was seen above this revision counts no longer: it is known that the bucket went backwards. */
  forgetAbove(revision: number): void {
    this.#highest = Math.min(this.#highest, revision)
  }

  /** False when the bucket is gone, was made anew, or has fewer revisions than were seen. */
  async isWhole(): Promise<boolean> {
    const seen = this.#highest
    try {
      const { created, state } = await this.#jsm.streams.info(bucketStream(this.name))
      // What was forgotten while the server answered is no loss: somebody else has noticed it.
      return Date.parse(created) === this.createdMs && state.last_seq >= Math.min(seen, this.#highest)
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound) return false
      throw error
    }
  }

  /** Creation time as the server has it now: another one than `createdMs` when the bucket was made anew meanwhile. */
  async lookUpCreatedMs(): Promise<number> {
    return Date.parse((await this.#jsm.streams.info(bucketStream(this.name))).created)
  }

  async read(key: string): Promise<{ value: string; revision: number } | null> {
    const entry = await this.#kv.get(key)
    if (entry === null || entry.operation !== 'PUT') return null
    return { value: decoder.decode(entry.value), revision: this.#saw(entry.revision) }
  }

  /**
   * Writes if the key is still at `revision`; null = if it does not exist. Answers the new revision. Goes together with
   * what else is written in the same turn, unless it has a deadline of its own.
   * @throws RevisionConflict; a timeout leaves it open whether the write happened: read the key again.
   */
  async write(key: string, value: string, revision: number | null, timeoutMs?: number): Promise<number> {
    const data = encoder.encode(value)
    const alone = (): Promise<number> =>
      revision === null
        ? this.#kv.create(key, data)
        : this.#kv.update(key, data, revision, timeoutMs ?? REQUEST_TIMEOUT_MS)
    try {
      const write = { subject: bucketSubject(this.name, key), data, lastSeq: revision ?? 0 }
      const group = timeoutMs === undefined ? this.#group : null
      const written = this.#saw(await (group === null ? alone() : group.write(write, alone)))
      if (revision !== null) this.#erase(key, revision)
      return written
    } catch (error) {
      if (isConflict(error)) throw new RevisionConflict(`${this.name}/${key}`, { cause: error })
      throw error
    }
  }

  /** Beside the work: what fails, or finds no room in the queue, is left to whoever erases the user. */
  #erase(key: string, revision: number): void {
    if (this.#overwritten === null || this.#overwritten.size >= ERASING_MAX) return
    const overwritten = { subject: bucketSubject(this.name, key), seq: revision }
    const erase = () => eraseOverwritten(this.#jsm, bucketStream(this.name), overwritten, () => this.connection)
    void this.#overwritten.add(erase).catch(() => undefined)
  }

  /** What the leader has of the keys that match, wildcards allowed: the present value of each. */
  async find(keys: string): Promise<RawEntry[]> {
    const found = new Map<string, RawEntry>()
    const [all, prefix] = [bucketSubject(this.name, keys), bucketSubject(this.name, '')]
    for (let next = 1; ; ) {
      const query = { seq: next, next_by_subj: all }
      const message = await this.#jsm.streams.getMessage(bucketStream(this.name), query)
      if (message === null) return [...found.values()]
      const key = message.subject.slice(prefix.length)
      const value = message.data.length > 0 ? decoder.decode(message.data) : null
      found.set(key, { key, value, revision: message.seq })
      next = message.seq + 1
    }
  }

  /** Erases all revisions of the keys that match, up to one. No watch tells of it. */
  async eraseKeys(keys: string, upTo: number, signal: AbortSignal): Promise<number> {
    return await eraseMessages(this.#jsm, bucketStream(this.name), bucketSubject(this.name, keys), upTo, signal)
  }

  /** The revision that the leader has given last. */
  async lookUpEnd(): Promise<number> {
    return (await this.#jsm.streams.info(bucketStream(this.name))).state.last_seq
  }

  /** Deletes the key if it is still at `revision`. @throws RevisionConflict */
  async remove(key: string, revision: number): Promise<void> {
    try {
      await this.#kv.purge(key, { previousSeq: revision })
    } catch (error) {
      if (isConflict(error)) throw new RevisionConflict(`${this.name}/${key}`, { cause: error })
      throw error
    }
  }

  /**
   * Delivers the present value of every key, calls `onSnapshot` once, then delivers every change until the signal
   * aborts or the watch ends. A watch of a bucket that is deleted and made again ends silently: see `isWhole`.
   *
   * Of a replicated bucket any server may serve it, one that lags behind too: it begins with a whole look at the past and
   * goes on from there. `onSnapshot` waits until it has told what the leader had when it began.
   */
  async follow(onEntry: (entry: RawEntry) => void, onSnapshot: () => void, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const present = await this.lastPresent()
    let complete = present === null
    const reader = await readBucket(this.#jsm, bucketStream(this.name))
    signal.addEventListener('abort', reader.stop, { once: true })
    try {
      if (signal.aborted) return
      if (complete) onSnapshot()
      let told = 0
      const prefix = bucketSubject(this.name, '').length
      for await (const { seq, subject, data, info } of reader.messages) {
        // What is there is not empty, and what marks a key as gone is. To look at the headers costs more than all the rest.
        const value = data.length > 0 ? decoder.decode(data) : null
        onEntry({ key: ownText(subject.slice(prefix)), value, revision: this.#saw(seq) })
        if (complete || seq < (present ?? 0) || !(++told >= reader.present || info.pending === 0)) continue
        complete = true
        onSnapshot()
      }
    } finally {
      signal.removeEventListener('abort', reader.stop)
      reader.stop()
    }
  }

  /**
   * Revision of the newest entry that the leader has; null when it has none.
   * @param seen if it has nothing newer, this is answered without a further look
   */
  async lastPresent(seen = 0): Promise<number | null> {
    const { state } = await this.#jsm.streams.info(bucketStream(this.name))
    if (state.messages === 0) return null
    if (state.last_seq <= seen) return seen
    const last = await this.#jsm.streams.getMessage(bucketStream(this.name), { last_by_subj: '>' })
    return last?.seq ?? 0
  }

  #saw(revision: number): number {
    this.#highest = Math.max(this.#highest, revision)
    return revision
  }
}

const isConflict = (error: unknown): boolean =>
  error instanceof JetStreamApiError &&
  (error.code === JetStreamApiCodes.StreamWrongLastSequence || error.code === UNKNOWN_LAST_SEQUENCE)
