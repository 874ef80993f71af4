/**
 * A local copy of one bucket, kept by a watch that is started again whenever it ends.
 * It decides nothing: it parses, keeps the latest revision of each key and tells listeners. Each new watch is believed,
 * whatever the one before it said; where it says less, once it is complete.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Log } from '#shared/log.ts'
import { type Clock, pause } from '../base/time.ts'
import type { Revised } from './account-record.ts'
import type { Bucket, RawEntry } from './bucket.ts'

const RESTART_MS = 250
/** Silence after which a watch that has not delivered all that the bucket holds counts as dead. */
const SNAPSHOT_SILENCE_MS = 10_000
/** What the bucket has for so long must have been told. */
const ATTEND_MS = 3_000

/** What a replica follows. */
export type Followed = Pick<Bucket, 'name' | 'follow' | 'lastPresent'>
type Listener<E> = (key: string, entry: E | null) => void

export class Replica<T, E extends Revised<T> = Revised<T>> {
  readonly #parse: (value: string) => T | null
  readonly #entryOf: (key: string, revised: Revised<T>) => E
  readonly #log: Log
  readonly #clock: Clock
  readonly #listeners = new Set<Listener<E>>()
  #entries = new Map<string, E>()
  #fresh = false
  /** Those who wait until it is. */
  readonly #waiting = new Set<() => void>()
  #restart: AbortController | null = null
  /** Keys that the present watch, or a write of this instance since it began, has told of, until the watch is complete: then it is all. */
  #seen = new Set<string>()
  #isComplete = false
  /** What the present watch, which is not complete, says of keys of which something later is known. */
  readonly #doubtful = new Map<string, RawEntry>()
  #heardMs = 0
  /** The highest revision that the present watch has told of. */
  #heard = 0

  /**
   * @param parse null for a value that is not a record: it is counted as absent and logged
   * @param entryOf what is kept and told of a key; listeners may keep the very object, so that there is one of each
   */
  constructor(
    parse: (value: string) => T | null,
    clock: Clock,
    log: Log,
    entryOf: (key: string, revised: Revised<T>) => E,
  ) {
    this.#parse = parse
    this.#entryOf = entryOf
    this.#clock = clock
    this.#log = log
  }

  /** True while a watch runs whose snapshot was complete. */
  get fresh(): boolean {
    return this.#fresh
  }
  get entries(): ReadonlyMap<string, E> {
    return this.#entries
  }
  /** Resolves once it is fresh; rejects with the reason of the signal. */
  async whenFresh(signal: AbortSignal): Promise<void> {
    while (!this.#fresh) {
      signal.throwIfAborted()
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const onAbort = (): void => reject(signal.reason)
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.add(resolve)
      await promise.finally(() => {
        signal.removeEventListener('abort', onAbort)
        this.#waiting.delete(resolve)
      })
    }
  }
  listen(listener: Listener<E>): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
  /** Takes in what this instance itself has just written, before the watch brings it. */
  note(key: string, record: T, revision: number): void {
    const known = this.#entries.get(key)
    // Later news have come already; or the bucket went backwards, which is for the watch to say.
    if (known !== undefined && known.revision >= revision) return
    if (!this.#isComplete) this.#seen.add(key)
    this.#doubtful.delete(key)
    this.#apply(key, { record, revision })
  }
  /** The key was erased at the server, which no watch tells. */
  forget(key: string): void {
    this.#doubtful.delete(key)
    this.#apply(key, null)
  }
  /** Ends the present watch; `run` starts the next one. */
  renew(): void {
    this.#fresh = false
    this.#restart?.abort()
  }

  /** Follows the bucket until the signal aborts. `bucket` is asked anew for each watch: it may have been recreated. */
  async run(bucket: () => Followed, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const restart = new AbortController()
      this.#restart = restart
      this.#seen = new Set()
      this.#isComplete = false
      this.#doubtful.clear()
      this.#heardMs = this.#clock.monoMs()
      const both = AbortSignal.any([signal, restart.signal])
      this.#heard = 0
      void this.#refuseToHang(restart, both)
      try {
        const followed = bucket()
        void this.#attend(followed, restart, both)
        await followed.follow(
          ({ key, value, revision }) => {
            this.#heardMs = this.#clock.monoMs()
            this.#heard = Math.max(this.#heard, revision)
            this.#receive({ key, value, revision })
          },
          () => this.#complete(),
          both,
        )
      } catch (error) {
        if (!signal.aborted) this.#log.debug({ err: error, bucket: bucket().name }, 'watch ended')
      }
      this.#fresh = false
      restart.abort()
      await pause(this.#clock, RESTART_MS, signal)
    }
  }

  /** A watch that a restarting server swallowed never completes its snapshot and never ends: it is made anew. */
  async #refuseToHang(restart: AbortController, signal: AbortSignal): Promise<void> {
    for (;;) {
      const leftMs = this.#heardMs + SNAPSHOT_SILENCE_MS - this.#clock.monoMs()
      if (leftMs <= 0) break
      await pause(this.#clock, leftMs, signal)
      if (signal.aborted || this.#fresh) return
    }
    this.#log.warn('a watch fell silent before its snapshot was complete; watching anew')
    restart.abort()
  }

  /**
   * A watch whose server has died says nothing for a minute and more, while the connection to another one is well. So the
   * leader is asked what there is to tell.
   */
  async #attend(bucket: Followed, restart: AbortController, signal: AbortSignal): Promise<void> {
    for (let owed = 0; !signal.aborted; await pause(this.#clock, ATTEND_MS, signal)) {
      if (this.#heard < owed) {
        this.#log.warn({ bucket: bucket.name }, 'a watch does not tell what the bucket has; watching anew')
        return restart.abort()
      }
      if (!this.#fresh) continue
      try {
        owed = (await bucket.lastPresent(this.#heard)) ?? 0
      } catch (error) {
        this.#log.debug({ err: error, bucket: bucket.name }, 'a watch could not be compared with its bucket')
      }
    }
  }

  /** Forgets everything: the bucket was made anew or went backwards, and its revisions are given out again. */
  clear(): void {
    // Before listeners hear that all is gone: none may take it for the truth.
    this.renew()
    for (const key of [...this.#entries.keys()]) this.#apply(key, null)
  }

  /**
   * The latest revision of a key counts. What a watch says first of a key may be earlier than what is known, or the same
   * revision given out again for something else: either the bucket went backwards, or a server that lags behind serves
   * the watch. The end of its snapshot tells.
   */
  #receive(entry: RawEntry): void {
    const { key, revision } = entry
    const known = this.#entries.get(key)
    const isFirst = !this.#isComplete && !this.#seen.has(key)
    if (!this.#isComplete) this.#seen.add(key)
    if (known === undefined || known.revision < revision) {
      this.#doubtful.delete(key)
      this.#believe(entry)
    } else if (isFirst || this.#doubtful.has(key)) this.#doubt(entry, known)
  }

  #doubt(entry: RawEntry, known: E): void {
    // As almost always after a reconnect: nothing has changed.
    const same = known.revision === entry.revision && isDeepStrictEqual(known.record, this.#recordOf(entry))
    if (same) this.#doubtful.delete(entry.key)
    else this.#doubtful.set(entry.key, entry)
  }

  /** The watch has told all that the bucket has. */
  #complete(): void {
    for (const key of [...this.#entries.keys()]) if (!this.#seen.has(key)) this.#apply(key, null)
    for (const entry of this.#doubtful.values()) this.#believe(entry)
    this.#doubtful.clear()
    this.#seen = new Set()
    this.#isComplete = true
    this.#fresh = true
    for (const wake of this.#waiting) wake()
  }

  #recordOf({ value }: RawEntry): T | null {
    return value === null ? null : this.#parse(value)
  }

  #believe(entry: RawEntry): void {
    const { key, value, revision } = entry
    const record = this.#recordOf(entry)
    if (value !== null && record === null) this.#log.error({ key, revision }, 'record cannot be read; left alone')
    this.#apply(key, record === null ? null : { record, revision })
  }

  #apply(key: string, revised: Revised<T> | null): void {
    const entry = revised === null ? null : this.#entryOf(key, revised)
    if (entry !== null) this.#entries.set(key, entry)
    else if (!this.#entries.delete(key)) return
    for (const listener of this.#listeners) listener(key, entry)
  }
}
