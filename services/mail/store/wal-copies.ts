/**
 * Copies the write-ahead logs of databases into their files, in a thread of its own: a copy of 1,000 pages waits twice for the
 * disk and takes some 20 ms, during which nobody would be answered. It changes nothing that a transaction has written.
 */
import type { Worker } from 'node:worker_threads'
import type { Log } from '#shared/log.ts'
import { startThread } from '../base/thread.ts'
import { CANCELLED, COPIED, RUNNING, WAITING, type WalAnswer, type WalJob } from './wal-job.ts'

/** A log of so many pages is copied. */
const COPY_PAGES = 1_000
/** A log of so many is copied by SQLite itself, in the middle of a commit: the thread cannot keep up, or does not work. */
export const WAL_PAGES_MAX = 8_000
/** Nobody waits longer for a copy. */
const WAIT_MAX_MS = 1_000

type Copy = WalJob & { pages: number; over: Promise<void>; end(): void }

export class WalCopies {
  readonly #log: Log
  /** Bound: the databases that are open, one copy of each. */
  readonly #copies = new Map<string, Copy>()
  /** How many pages a log has to have before another copy of it is tried; for those of which one has failed. */
  readonly #notBefore = new Map<string, number>()
  #thread: Worker | null = null
  #isBroken = false

  constructor(log: Log) {
    this.#log = log
  }

  /** A transaction has written to the database. It never throws: the transaction is written. @param walPages of its log */
  wrote(file: string, walPages: () => number): void {
    if (this.#isBroken || this.#copies.has(file)) return
    try {
      this.#copyIfLong(file, walPages())
    } catch (error) {
      this.#failed(error)
    }
  }

  #copyIfLong(file: string, pages: number): void {
    if (pages < COPY_PAGES) this.#notBefore.delete(file)
    if (pages < (this.#notBefore.get(file) ?? COPY_PAGES)) return
    this.#thread ??= this.#start()
    const { promise: over, resolve } = Promise.withResolvers<void>()
    const late = setTimeout(resolve, WAIT_MAX_MS).unref()
    const end = (): void => {
      clearTimeout(late)
      this.#copies.delete(file)
      resolve()
    }
    const job: WalJob = { file, state: new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)) }
    this.#copies.set(file, { ...job, pages, over, end })
    this.#thread.postMessage(job)
  }

  /**
   * Resolves when no copy of this file is under way, after a second at the latest. What is written during a copy keeps the
   * log from beginning anew.
   */
  async ready(file: string): Promise<void> {
    await this.#copies.get(file)?.over
  }

  /**
   * Waits, and everything with it, until no copy has the file open, a second at most; one that has not begun is cancelled. To be
   * called before the database is closed: whoever closes it last deletes the log.
   */
  end(file: string): void {
    this.#notBefore.delete(file)
    const copy = this.#copies.get(file)
    if (copy === undefined) return
    if (Atomics.compareExchange(copy.state, 0, WAITING, CANCELLED) === WAITING) copy.end()
    else Atomics.wait(copy.state, 0, RUNNING, WAIT_MAX_MS)
  }

  /** Whether a copy has the file open at this moment. */
  isCopying(file: string): boolean {
    const copy = this.#copies.get(file)
    return copy !== undefined && Atomics.load(copy.state, 0) === RUNNING
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread?.terminate()
  }

  #failed(error: unknown): void {
    this.#log.error({ err: error }, 'write-ahead logs can be copied by a thread no more: SQLite copies them itself')
    this.#isBroken = true
    for (const copy of [...this.#copies.values()]) {
      Atomics.store(copy.state, 0, COPIED)
      copy.end()
    }
  }

  #start(): Worker {
    const thread = startThread(new URL('./wal-thread.ts', import.meta.url))
    thread.on('message', ({ file, error }: WalAnswer) => {
      const copy = this.#copies.get(file)
      if (error !== null) {
        this.#log.warn({ file, error }, 'a write-ahead log could not be copied by the thread')
        this.#notBefore.set(file, (copy?.pages ?? 0) + COPY_PAGES)
      }
      copy?.end()
    })
    thread.on('error', (error) => this.#failed(error))
    return thread
  }
}
