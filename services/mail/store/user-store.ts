/**
 * One SQLite file per user: opened on demand, kept in a bounded cache, written only by the term that owns the user.
 * It refuses stale terms and foreign files, sets damaged files aside and never deletes one. It knows no other table than meta.
 */
import { lstatSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { LRUCache } from 'lru-cache'
import type { Log } from '#shared/log.ts'
import { encodeUser } from '#shared/user-token.ts'
import { compareEpochs, type Epoch } from '../base/model.ts'
import { systemClock } from '../base/time.ts'
import { eraseDir } from './erase-dir.ts'
import { type Handle, openHandle } from './handle.ts'
import { beginRepair, readMeta, setEpoch } from './meta.ts'
import type { UserReader, UserTx } from './prepared.ts'
import { probeDataDir } from './probe.ts'
import { CorruptError, DiskError, onDisk } from './sqlite.ts'
import { WAL_PAGES_MAX, type WalCopies } from './wal-copies.ts'

export type { UserReader, UserTx } from './prepared.ts'

/** The database belongs to another term than the writer's: the writer has lost the user. */
export class StaleEpochError extends Error {
  override readonly name = 'StaleEpochError'
  readonly mine: Epoch
  readonly found: Epoch | null
  constructor(mine: Epoch, found: Epoch | null) {
    const text = (epoch: Epoch | null): string => (epoch === null ? 'none' : `${epoch.era}.${epoch.rev}`)
    super(`term ${text(mine)} may not write: the database belongs to term ${text(found)}`)
    this.mine = mine
    this.found = found
  }
}

/** `absent`: no file. `empty`: a file that no term has adopted yet. `corrupt`: damaged. */
export type FileState = 'absent' | 'empty' | 'usable' | 'corrupt'

/** Databases that stay open. */
export const MAX_HANDLES = 256
/** Between the closing of two, when all are closed: half the time is left to others. */
const CLOSE_PAUSE_MS = 5
const NEVER = new AbortController().signal

const exists = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined

export class UserStore {
  readonly #dataDir: string
  readonly #log: Log
  readonly #handles: LRUCache<string, Handle>
  readonly #compares: boolean
  readonly #copies: WalCopies | undefined
  readonly #nextTurn: () => Promise<void>
  /** Users whose damaged database could not be set aside yet: the damage may not show at the next look. */
  readonly #damaged = new Set<string>()
  /** Called for each write that is refused because a later term has the database. */
  onRefused: () => void = () => undefined
  /** Called for each database that is opened, and for each transaction that has written to one. */
  onOpened: () => void = () => undefined
  onCommitted: () => void = () => undefined
  /** Called for each fault of the disk that a user meets, besides being thrown. */
  onDiskFault: (fault: DiskError) => void = () => undefined

  /**
   * @param options `copies`: who copies the logs of the databases; without it SQLite does. `nextTurn`: what a transaction of
   * milliseconds waits for; nothing unless given. `compareEpochs: false` is a control arm of tests: what a past term
   * writes is not refused.
   */
  constructor(options: {
    dataDir: string
    log: Log
    maxHandles?: number
    copies?: WalCopies
    nextTurn?: () => Promise<void>
    compareEpochs?: false
  }) {
    this.#dataDir = options.dataDir
    this.#log = options.log
    this.#compares = options.compareEpochs !== false
    this.#copies = options.copies
    this.#nextTurn = options.nextTurn ?? (async () => undefined)
    this.#handles = new LRUCache<string, Handle>({
      max: options.maxHandles ?? MAX_HANDLES,
      dispose: ({ database }) => {
        this.#copies?.end(database.file)
        database.close()
      },
    })
  }

  /** Path of the user's database. */
  fileOf(userId: string): string {
    return join(this.#dataDir, 'users', encodeUser(userId), 'events.db')
  }

  /** What is on the disk; creates nothing. @throws DiskError when it is no regular file, cannot be opened, or is another user's. */
  inspect(userId: string): FileState {
    const file = this.fileOf(userId)
    const status = this.#onDisk(file, () => lstatSync(file, { throwIfNoEntry: false }))
    if (status === undefined) {
      this.release(userId)
      this.#damaged.delete(userId)
      return 'absent'
    }
    if (this.#damaged.has(userId)) return 'corrupt'
    if (status.size === 0 && status.isFile()) return 'empty'
    try {
      return this.read(userId, readMeta) === null ? 'empty' : 'usable'
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      this.#log.error({ err: error }, 'a user database cannot be used')
      return 'corrupt'
    }
  }

  /** Whether the error says that the user's database is damaged; `auth.db` throws a CorruptError too. */
  isDamage(userId: string, error: unknown): boolean {
    return error instanceof CorruptError && error.file === this.fileOf(userId)
  }

  /** Renames the database to `events.db.corrupt-<ms>`, with its WAL; returns the new path, or null when there was none. */
  setAside(userId: string): string | null {
    const file = this.fileOf(userId)
    this.#leave(userId)
    return this.#onDisk(file, () => {
      if (!exists(file)) return null
      let stamp = systemClock.wallMs()
      while (exists(`${file}.corrupt-${stamp}`)) stamp++
      const aside = `${file}.corrupt-${stamp}`
      // The WAL first: alone beside a new database it would be replayed into it.
      for (const suffix of ['-wal', '-shm', '']) if (exists(file + suffix)) renameSync(file + suffix, aside + suffix)
      this.#damaged.delete(userId)
      this.#log.error({ from: file, to: aside }, 'a user database was set aside')
      return aside
    })
  }

  /** A damaged database may pass for a good one at the next take-over: only what met the damage knows of it. */
  setAsideIfDamaged(userId: string, error: unknown): void {
    if (!this.isDamage(userId, error)) return
    this.#damaged.add(userId)
    try {
      this.setAside(userId)
    } catch (fault) {
      this.#log.error({ err: fault }, 'a damaged user database could not be set aside yet')
    }
  }

  /**
   * Opens or creates the database and makes `epoch` its term.
   * @param rebuilding its ledger is to be taken over from elsewhere: until that is done it is no base
   * @param repairing what it knows of the stream is to be compared with all that stands there
   * @throws StaleEpochError when a higher term stands there; CorruptError, DiskError.
   */
  adopt(
    userId: string,
    epoch: Epoch,
    rebuilding = false,
    repairing = false,
  ): { previous: Epoch | null; fresh: boolean } {
    const { tx, database, write } = this.#open(userId, 'create')
    const adopted = this.#onDisk(database.file, () =>
      write(() => {
        const previous = this.#metaOf(tx)?.epoch ?? null
        if (previous !== null && compareEpochs(previous, epoch) > 0) this.#refuse(epoch, previous)
        setEpoch(tx, epoch, rebuilding)
        if (repairing) beginRepair(tx)
        return { previous, fresh: previous === null }
      }),
    )
    this.onCommitted()
    return adopted
  }

  /** Runs `fn` on one snapshot of the user's database. @throws CorruptError, DiskError. */
  read<T>(userId: string, fn: (db: UserReader) => T): T {
    const { reader, database, read } = this.#open(userId)
    return this.#onDisk(database.file, () => read(() => fn(reader)))
  }

  /**
   * Runs `fn` in one IMMEDIATE transaction; all or nothing is written.
   * @throws StaleEpochError when the database belongs to another term than `epoch`; CorruptError, DiskError.
   */
  commit<T>(userId: string, epoch: Epoch, fn: (tx: UserTx) => T): T {
    const { tx, database, write, walPages } = this.#open(userId)
    const answer = this.#onDisk(database.file, () =>
      write(() => {
        const found = this.#metaOf(tx)?.epoch ?? null
        if (found === null || compareEpochs(found, epoch) !== 0) this.#refuse(epoch, found)
        return fn(tx)
      }),
    )
    this.onCommitted()
    this.#copies?.wrote(database.file, walPages)
    return answer
  }

  /**
   * To be awaited before a transaction that takes milliseconds: resolves when the loop is the caller's, and the log of the
   * user's database is not being copied.
   */
  async turn(userId: string): Promise<void> {
    await this.#copies?.ready(this.fileOf(userId))
    await this.#nextTurn()
  }

  /**
   * Deletes all that is on this disk of the user, also what was set aside; it is gone when this returns. What a crash has
   * left of it is deleted by the next call.
   * @param upTo a database of a later term is left alone: it is of a user who has connected again
   * @returns false when it was left alone
   * @throws DiskError
   */
  erase(userId: string, upTo: Epoch): boolean {
    const file = this.fileOf(userId)
    if (!this.#onDisk(file, () => exists(dirname(file)))) return true
    const epoch = this.inspect(userId) === 'usable' ? this.read(userId, readMeta)?.epoch : undefined
    if (epoch !== undefined && compareEpochs(epoch, upTo) > 0) return false
    this.#leave(userId)
    this.#onDisk(file, () => eraseDir(dirname(file)))
    return true
  }

  /** @throws DiskError while nothing can be kept in the data folder, whoever the user is; @param roomBytes to be left. */
  probe(roomBytes: number): Promise<void> {
    return probeDataDir(this.#dataDir, roomBytes)
  }

  /** Closes the user's handle, which writes the WAL back. Later calls open it again. */
  release(userId: string): void {
    this.#handles.delete(userId)
  }

  /** Each writes its WAL back, for which others wait who want the disk or the processor now. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const userId of [...this.#handles.keys()]) {
      this.#handles.delete(userId)
      await systemClock.sleep(CLOSE_PAUSE_MS, NEVER)
    }
    await this.#copies?.[Symbol.asyncDispose]()
  }

  /**
   * Nothing of this process has the file open any more. A copy that closed it later would delete the log of whatever stands
   * at its place by then.
   * @throws DiskError while one is still under way
   */
  #leave(userId: string): void {
    this.release(userId)
    const file = this.fileOf(userId)
    if (this.#copies?.isCopying(file) === true)
      this.#onDisk(file, () => {
        throw new DiskError('IO', `the write-ahead log of ${file} is still being copied`)
      })
  }

  #refuse(mine: Epoch, found: Epoch | null): void {
    if (!this.#compares) return
    if (found !== null && compareEpochs(found, mine) > 0) this.onRefused()
    throw new StaleEpochError(mine, found)
  }

  #onDisk<T>(file: string, work: () => T): T {
    try {
      return onDisk(file, work)
    } catch (error) {
      if (error instanceof DiskError) this.onDiskFault(error)
      throw error
    }
  }

  #open(userId: string, missing: 'create' | 'refuse' = 'refuse'): Handle {
    const known = this.#handles.get(userId)
    if (known !== undefined) return known
    const file = this.fileOf(userId)
    // Only a term makes a file: one that a mere look had made would pass for a lost disk.
    if (missing === 'refuse' && !this.#onDisk(file, () => exists(file)))
      throw new DiskError('CANNOT_OPEN', `${file} is not there`)
    const handle = this.#onDisk(file, () => openHandle(userId, file, this.#copies && WAL_PAGES_MAX))
    try {
      this.#onDisk(file, () => this.#metaOf(handle.reader))
    } catch (error) {
      handle.database.close()
      throw error
    }
    this.#handles.set(userId, handle)
    this.onOpened()
    return handle
  }

  /** The meta row, after the check that the file is this user's. */
  #metaOf(reader: UserReader): ReturnType<typeof readMeta> {
    const found = readMeta(reader)
    if (found !== null && found.userId !== reader.userId)
      throw new DiskError('FOREIGN', `the database in ${dirname(this.fileOf(reader.userId))} belongs to another user`)
    return found
  }
}
