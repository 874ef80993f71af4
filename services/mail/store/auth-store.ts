/**
 * `auth.db`: what this instance knows of the credentials, sealed, safe before a refreshed token is used (synchronous
 * FULL). It never sees a token in the clear and does not decide which of two credentials is the right one.
 */

import * as v from 'valibot'
import { PROVIDER_LOWER, PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef } from '../base/model.ts'
import { and, eq, gt, or, sql } from './drizzle.ts'
import { refuseStart } from './refuse-start.ts'
import { erasedUsers, oauthTokens } from './schema/auth.ts'
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
  readonly #byAccount: ReturnType<typeof prepareByAccount>

  /**
   * @param file path of auth.db; created with mode 0600 when absent, and its folder, but not what that lies in.
   * @throws ExitError 78 when it cannot be used.
   */
  constructor(file: string) {
    this.#database = refuseStart('AUTH_DB_PATH', file, () => openDatabase({ file, kind: 'auth', synchronous: 'FULL' }))
    this.#byAccount = prepareByAccount(this.#database)
  }

  get(account: AccountRef): AuthRow | null {
    const found = this.#run(() => this.#byAccount.get(columnsOf(account)))
    return found === undefined ? null : rowOf(found)
  }

  /** Inserts or replaces; on disk when it returns. `nowS` in epoch seconds. */
  put(entry: AuthEntry, nowS: number): void {
    const key = columnsOf(entry.account)
    const values = {
      accessToken: entry.accessToken,
      refreshToken: entry.refreshToken,
      expiry: entry.expiryS,
      updatedAt: nowS,
      dirty: entry.dirty,
      ...baseColumns(entry),
      ...factColumns(entry),
    }
    this.#run(() =>
      this.#database.db
        .insert(oauthTokens)
        .values({ ...key, ...values, createdAt: nowS })
        .onConflictDoUpdate({ target: [oauthTokens.userId, oauthTokens.provider, oauthTokens.inboxId], set: values })
        .run(),
    )
  }

  /** The record changed, but not its credential: tokens and `dirty` stay. */
  rebase(account: AccountRef, base: RecordBase, facts: RecordFacts): void {
    const set = { ...baseColumns(base), ...factColumns(facts) }
    this.#run(() => this.#database.db.update(oauthTokens).set(set).where(isAccount(account)).run())
  }

  /** The record now has these tokens. Does nothing when the row was replaced since, known by its sealed access token. */
  markClean(account: AccountRef, accessToken: string, base: RecordBase): void {
    this.#run(() =>
      this.#database.db
        .update(oauthTokens)
        .set({ ...baseColumns(base), dirty: false })
        .where(and(isAccount(account), eq(oauthTokens.accessToken, accessToken)))
        .run(),
    )
  }

  delete(account: AccountRef): void {
    this.#run(() => this.#database.db.delete(oauthTokens).where(isAccount(account)).run())
  }

  /**
   * Deletes the rows of an erased user that were made before, and keeps the record that says so. When it returns no byte of
   * them is in the files.
   */
  eraseUser(userId: string, record: string, isFromBefore: (row: RecordBase) => boolean): void {
    const { db, sqlite } = this.#database
    const erase = (): void => {
      const rows = db.select().from(oauthTokens).where(eq(oauthTokens.userId, userId)).all().map(rowOf)
      for (const row of rows) if (isFromBefore(row)) db.delete(oauthTokens).where(isAccount(row.account)).run()
      db.insert(erasedUsers)
        .values({ userId, record })
        .onConflictDoUpdate({ target: erasedUsers.userId, set: { record } })
        .run()
    }
    this.#run(() => sqlite.transaction(erase).immediate())
    this.#run(() => sqlite.pragma('wal_checkpoint(TRUNCATE)'))
  }

  /** Records of the users who were erased, as they were applied here. */
  erasedUsers(): Map<string, string> {
    const rows = this.#run(() => this.#database.db.select().from(erasedUsers).all())
    return new Map(rows.map(({ userId, record }) => [userId, record]))
  }

  /** All rows in the order of their key; a page in memory at a time. */
  *list(): Generator<AuthRow> {
    let after: AccountRef | null = null
    for (;;) {
      const page = this.#run(() =>
        this.#database.db
          .select()
          .from(oauthTokens)
          .where(after === null ? undefined : isAfter(after))
          .orderBy(oauthTokens.userId, oauthTokens.provider, oauthTokens.inboxId)
          .limit(PAGE_ROWS)
          .all(),
      ).map(rowOf)
      yield* page
      const last = page.at(-1)
      if (last === undefined || page.length < PAGE_ROWS) return
      after = last.account
    }
  }

  /**
   * Exchanges the seals of these rows in one transaction, on disk when it returns; everything else in a row stays. A row
   * whose tokens are others by now is left alone. Answers how many were exchanged.
   */
  reseal(rows: readonly Resealed[]): number {
    const { db, sqlite } = this.#database
    const exchange = ({ row, accessToken, refreshToken }: Resealed): number =>
      db
        .update(oauthTokens)
        .set({ accessToken, refreshToken })
        .where(
          and(
            isAccount(row.account),
            eq(oauthTokens.accessToken, row.accessToken),
            eq(oauthTokens.refreshToken, row.refreshToken),
          ),
        )
        .run().changes
    return this.#run(() => sqlite.transaction(() => rows.reduce((sum, row) => sum + exchange(row), 0)).immediate())
  }

  /** What stands before the first dot of both sealed tokens of each row, a page at a time: it names the key. */
  *heads(): Generator<[accessToken: string, refreshToken: string][]> {
    const headOf = (column: typeof oauthTokens.accessToken | typeof oauthTokens.refreshToken) =>
      sql<string>`substr(${column}, 1, instr(${column}, '.'))`
    const columns = {
      userId: oauthTokens.userId,
      provider: oauthTokens.provider,
      inboxId: oauthTokens.inboxId,
      access: headOf(oauthTokens.accessToken),
      refresh: headOf(oauthTokens.refreshToken),
    }
    for (let after: AccountRef | null = null; ; ) {
      const page = this.#run(() =>
        this.#database.db
          .select(columns)
          .from(oauthTokens)
          .where(after === null ? undefined : isAfter(after))
          .orderBy(oauthTokens.userId, oauthTokens.provider, oauthTokens.inboxId)
          .limit(PAGE_ROWS)
          .all(),
      )
      yield page.map(({ access, refresh }) => [access, refresh])
      const last = page.at(-1)
      if (last === undefined || page.length < PAGE_ROWS) return
      after = { userId: last.userId, provider: PROVIDER_LOWER[last.provider], inboxId: last.inboxId }
    }
  }

  /** Accounts whose refreshed credential is not in their record yet. */
  dirtyAccounts(): AccountRef[] {
    return this.#run(() => this.#database.db.select().from(oauthTokens).where(sql`dirty = 1`).all()).map(
      (row) => rowOf(row).account,
    )
  }

  /**
   * The keys that the rows are sealed with. Asked once, at start, it is the first to read all of the file.
   * @throws ExitError 78 when it meets damage.
   * @param kidsOf reads them out of sealed values; it gets one value of each header that occurs.
   */
  allKids(kidsOf: (sealed: readonly string[]) => string[]): string[] {
    const samples = [oauthTokens.accessToken, oauthTokens.refreshToken].flatMap((column) =>
      refuseStart('AUTH_DB_PATH', this.#database.file, () =>
        this.#database.db
          .select({ sealed: sql<string>`min(${column})` })
          .from(oauthTokens)
          .groupBy(sql`substr(${column}, 1, instr(${column}, '.'))`)
          .all(),
      ),
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

type Row = typeof oauthTokens.$inferSelect

const columnsOf = ({ userId, provider, inboxId }: AccountRef) => ({
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

function isAccount(account: AccountRef) {
  const { userId, provider, inboxId } = columnsOf(account)
  return and(eq(oauthTokens.userId, userId), eq(oauthTokens.provider, provider), eq(oauthTokens.inboxId, inboxId))
}

function isAfter(account: AccountRef) {
  const { userId, provider, inboxId } = columnsOf(account)
  return or(
    gt(oauthTokens.userId, userId),
    and(eq(oauthTokens.userId, userId), gt(oauthTokens.provider, provider)),
    and(eq(oauthTokens.userId, userId), eq(oauthTokens.provider, provider), gt(oauthTokens.inboxId, inboxId)),
  )
}

const prepareByAccount = ({ db }: Database) =>
  db
    .select()
    .from(oauthTokens)
    .where(
      and(
        eq(oauthTokens.userId, sql.placeholder('userId')),
        eq(oauthTokens.provider, sql.placeholder('provider')),
        eq(oauthTokens.inboxId, sql.placeholder('inboxId')),
      ),
    )
    .prepare()

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
    dirty: row.dirty,
    mailbox: row.mailbox,
    address: row.address,
    reauth: row.reauth === null ? null : v.parse(Reauth, row.reauth),
  }
}
