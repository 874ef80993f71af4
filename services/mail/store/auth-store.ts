/**
 * `auth.db`: what this instance knows of the credentials, sealed, safe before a refreshed token is used (synchronous
 * FULL). It never sees a token in the clear and does not decide which of two credentials is the right one.
 * Its statements are in auth-statements.ts: every start reads it before requests are answered.
 */

import * as v from 'valibot'
import { PROVIDER_LOWER, PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef } from '../base/model.ts'
import { type AuthStatements, authStatements, type KeyColumns, type Row } from './auth-statements.ts'
import { refuseStart } from './refuse-start.ts'
import { type Database, onDisk, openDatabase } from './sqlite.ts'

/** What the row repeats of the account's record, beside the credential. */
export type RecordFacts = {
  mailbox: string | null
  address: string | null
  reauth: { code: string; at: number } | null
}

/** Which record a row mirrors or, while dirty, started from. */
export type RecordBase = {
  kvRev: number
  /** Which credential that record held: see `credentialId`. */
  kvHash: string
  /** Creation of the bucket that the revision counts in, epoch ms. */
  bucketCreatedMs: number
}

/** Both tokens sealed; expiry in epoch seconds. */
export type SealedTokens = { accessToken: string; refreshToken: string; expiryS: number }

export type AuthEntry = SealedTokens & RecordBase & RecordFacts & { account: AccountRef; dirty: boolean }
/** A row as it was read, and its tokens sealed with another key. */
export type Resealed = { row: AuthRow; accessToken: string; refreshToken: string }
/** Times in epoch seconds. */
export type AuthRow = AuthEntry & { createdAtS: number; updatedAtS: number }

const PAGE_ROWS = 200
const Reauth = v.pipe(v.string(), v.parseJson(), v.object({ code: v.string(), at: v.number() }))

export class AuthStore {
  readonly #database: Database
  readonly #statements: AuthStatements

  /**
   * @param file path of auth.db; created with mode 0600 when absent, and its folder, but not what that lies in.
   * @throws ExitError 78 when it cannot be used.
   */
  constructor(file: string) {
    this.#database = refuseStart('AUTH_DB_PATH', file, () => openDatabase({ file, kind: 'auth', synchronous: 'FULL' }))
    try {
      this.#statements = refuseStart('AUTH_DB_PATH', file, () => authStatements(this.#database.sqlite))
    } catch (error) {
      this.#database.close()
      throw error
    }
  }

  get(account: AccountRef): AuthRow | null {
    const found = this.#run(() => this.#statements.byAccount.get(columnsOf(account)))
    return found === undefined ? null : rowOf(found)
  }

  /** Inserts or replaces; on disk when it returns. `nowS` in epoch seconds. */
  put(entry: AuthEntry, nowS: number): void {
    const row: Row = {
      ...columnsOf(entry.account),
      accessToken: entry.accessToken,
      refreshToken: entry.refreshToken,
      expiry: entry.expiryS,
      createdAt: nowS,
      updatedAt: nowS,
      dirty: Number(entry.dirty),
      ...baseColumns(entry),
      ...factColumns(entry),
    }
    this.#run(() => this.#statements.put.run(row))
  }

  /** The record changed, but not its credential: tokens and `dirty` stay. */
  rebase(account: AccountRef, base: RecordBase, facts: RecordFacts): void {
    const row = { ...columnsOf(account), ...baseColumns(base), ...factColumns(facts) }
    this.#run(() => this.#statements.rebase.run(row))
  }

  /** The record now has these tokens. Does nothing when the row was replaced since, known by its sealed access token. */
  markClean(account: AccountRef, accessToken: string, base: RecordBase): void {
    const row = { ...columnsOf(account), ...baseColumns(base), accessToken }
    this.#run(() => this.#statements.markClean.run(row))
  }

  delete(account: AccountRef): void {
    this.#run(() => this.#statements.delete.run(columnsOf(account)))
  }

  /**
   * Deletes the rows of an erased user that were made before, and keeps the record that says so. When it returns no byte of
   * them is in the files.
   */
  eraseUser(userId: string, record: string, isFromBefore: (row: RecordBase) => boolean): void {
    const { ofUser, delete: deleteRow, noteErased } = this.#statements
    const erase = (): void => {
      for (const row of ofUser.all({ userId }).map(rowOf)) if (isFromBefore(row)) deleteRow.run(columnsOf(row.account))
      noteErased.run({ userId, record })
    }
    this.#run(() => this.#database.sqlite.transaction(erase).immediate())
    this.#run(() => this.#database.sqlite.pragma('wal_checkpoint(TRUNCATE)'))
  }

  /** Records of the users who were erased, as they were applied here. */
  erasedUsers(): Map<string, string> {
    const rows = this.#run(() => this.#statements.erased.all())
    return new Map(rows.map(({ userId, record }) => [userId, record]))
  }

  /** All rows in the order of their key; a page in memory at a time. */
  *list(): Generator<AuthRow> {
    for (let after = BEFORE_ALL; ; ) {
      const page = this.#run(() => this.#statements.page.all({ ...after, limit: PAGE_ROWS }))
      yield* page.map(rowOf)
      const last = page.at(-1)
      if (last === undefined || page.length < PAGE_ROWS) return
      after = keyOf(last)
    }
  }

  /**
   * Exchanges the seals of these rows in one transaction, on disk when it returns; everything else in a row stays. A row
   * whose tokens are others by now is left alone. Answers how many were exchanged.
   */
  reseal(rows: readonly Resealed[]): number {
    const exchange = ({ row, accessToken, refreshToken }: Resealed): number =>
      this.#statements.reseal.run({
        ...columnsOf(row.account),
        accessToken,
        refreshToken,
        oldAccessToken: row.accessToken,
        oldRefreshToken: row.refreshToken,
      }).changes
    const all = (): number => rows.reduce((sum, row) => sum + exchange(row), 0)
    return this.#run(() => this.#database.sqlite.transaction(all).immediate())
  }

  /** What stands before the first dot of both sealed tokens of each row, a page at a time: it names the key. */
  *heads(): Generator<[accessToken: string, refreshToken: string][]> {
    for (let after = BEFORE_ALL; ; ) {
      const page = this.#run(() => this.#statements.heads.all({ ...after, limit: PAGE_ROWS }))
      yield page.map(({ accessToken, refreshToken }) => [accessToken, refreshToken])
      const last = page.at(-1)
      if (last === undefined || page.length < PAGE_ROWS) return
      after = keyOf(last)
    }
  }

  /** Accounts whose refreshed credential is not in their record yet. */
  dirtyAccounts(): AccountRef[] {
    return this.#run(() => this.#statements.dirty.all()).map((row) => rowOf(row).account)
  }

  /**
   * The keys that the rows are sealed with. Asked once, at start, it is the first to read all of the file.
   * @throws ExitError 78 when it meets damage.
   * @param kidsOf reads them out of sealed values; it gets one value of each header that occurs.
   */
  allKids(kidsOf: (sealed: readonly string[]) => string[]): string[] {
    const { accessSamples, refreshSamples } = this.#statements
    const samples = [accessSamples, refreshSamples].flatMap((statement) =>
      refuseStart('AUTH_DB_PATH', this.#database.file, () => statement.all()),
    )
    return kidsOf(samples.map(({ sealed }) => sealed))
  }

  [Symbol.dispose](): void {
    this.#database.close()
  }

  #run<T>(work: () => T): T {
    return onDisk(this.#database.file, work)
  }
}

/** No user id is empty. */
const BEFORE_ALL: KeyColumns = { userId: '', provider: 'GOOGLE', inboxId: '' }

const keyOf = ({ userId, provider, inboxId }: KeyColumns): KeyColumns => ({ userId, provider, inboxId })

const columnsOf = ({ userId, provider, inboxId }: AccountRef): KeyColumns => ({
  userId,
  provider: PROVIDER_UPPER[provider],
  inboxId,
})

const baseColumns = ({ kvRev, kvHash, bucketCreatedMs }: RecordBase) => ({
  kvRev,
  kvHash,
  bucketCreated: bucketCreatedMs,
})

const factColumns = ({ mailbox, address, reauth }: RecordFacts) => ({
  mailbox,
  address,
  reauth: reauth === null ? null : JSON.stringify(reauth),
})

function rowOf(row: Row): AuthRow {
  return {
    account: { userId: row.userId, provider: PROVIDER_LOWER[row.provider], inboxId: row.inboxId },
    accessToken: row.accessToken,
    refreshToken: row.refreshToken,
    expiryS: row.expiry,
    createdAtS: row.createdAt,
    updatedAtS: row.updatedAt,
    kvRev: row.kvRev,
    kvHash: row.kvHash,
    bucketCreatedMs: row.bucketCreated,
    dirty: row.dirty !== 0,
    mailbox: row.mailbox,
    address: row.address,
    reauth: row.reauth === null ? null : v.parse(Reauth, row.reauth),
  }
}
