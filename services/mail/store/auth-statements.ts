/**
 * The statements of `auth.db`, written out: built by drizzle they would cost every start the 0.1 s of loading it (ADR 0037).
 * The compiler holds their columns against the schema.
 */
import type SqliteDatabase from 'better-sqlite3'
import type { erasedUsers, oauthTokens } from './schema/auth.ts'

type Columns = typeof oauthTokens.$inferSelect
/** A row as SQLite gives and takes it, under the names of the schema. */
export type Row = Omit<Columns, 'dirty'> & { dirty: number }
export type KeyColumns = Pick<Row, 'userId' | 'provider' | 'inboxId'>
type BaseColumns = Pick<Row, 'kvRev' | 'kvHash' | 'bucketCreated'>
type FactColumns = Pick<Row, 'mailbox' | 'address' | 'reauth'>
type Tokens = Pick<Row, 'accessToken' | 'refreshToken'>
type Page = KeyColumns & { limit: number }

/** Of each column of the schema its name in the file. */
const NAMES: Record<keyof Columns, string> = {
  userId: 'user_id',
  provider: 'provider',
  inboxId: 'inbox_id',
  accessToken: 'access_token',
  refreshToken: 'refresh_token',
  expiry: 'expiry',
  createdAt: 'created_at',
  updatedAt: 'updated_at',
  kvRev: 'kv_rev',
  kvHash: 'kv_hash',
  bucketCreated: 'bucket_created',
  dirty: 'dirty',
  mailbox: 'mailbox',
  address: 'address',
  reauth: 'reauth',
}
const KEPT = new Set(['userId', 'provider', 'inboxId', 'createdAt'])
const ALL = Object.entries(NAMES)
const SELECTED = ALL.map(([field, column]) => `${column} AS ${field}`).join(', ')
const REPLACED = ALL.filter(([field]) => !KEPT.has(field)).map(([, column]) => `${column} = excluded.${column}`)
const OF_ACCOUNT = 'user_id = @userId AND provider = @provider AND inbox_id = @inboxId'
const PAGE =
  'WHERE (user_id, provider, inbox_id) > (@userId, @provider, @inboxId) ORDER BY user_id, provider, inbox_id LIMIT @limit'
const BASE = 'kv_rev = @kvRev, kv_hash = @kvHash, bucket_created = @bucketCreated'
const FACTS = 'mailbox = @mailbox, address = @address, reauth = @reauth'
const headOf = (column: string): string => `substr(${column}, 1, instr(${column}, '.'))`
const samplesOf = (column: string): string =>
  `SELECT min(${column}) AS sealed FROM oauth_tokens GROUP BY ${headOf(column)}`

export type AuthStatements = ReturnType<typeof authStatements>

/** Prepares all of them, which reads the schema of the file. @throws SqliteError */
export const authStatements = (db: SqliteDatabase.Database) => ({
  byAccount: db.prepare<KeyColumns, Row>(`SELECT ${SELECTED} FROM oauth_tokens WHERE ${OF_ACCOUNT}`),
  ofUser: db.prepare<{ userId: string }, Row>(`SELECT ${SELECTED} FROM oauth_tokens WHERE user_id = @userId`),
  page: db.prepare<Page, Row>(`SELECT ${SELECTED} FROM oauth_tokens ${PAGE}`),
  dirty: db.prepare<[], Row>(`SELECT ${SELECTED} FROM oauth_tokens WHERE dirty = 1`),
  put: db.prepare<Row>(
    `INSERT INTO oauth_tokens (${ALL.map(([, column]) => column).join(', ')})
     VALUES (${ALL.map(([field]) => `@${field}`).join(', ')})
     ON CONFLICT (user_id, provider, inbox_id) DO UPDATE SET ${REPLACED.join(', ')}`,
  ),
  rebase: db.prepare<KeyColumns & BaseColumns & FactColumns>(
    `UPDATE oauth_tokens SET ${BASE}, ${FACTS} WHERE ${OF_ACCOUNT}`,
  ),
  markClean: db.prepare<KeyColumns & BaseColumns & Pick<Row, 'accessToken'>>(
    `UPDATE oauth_tokens SET ${BASE}, dirty = 0 WHERE ${OF_ACCOUNT} AND access_token = @accessToken`,
  ),
  delete: db.prepare<KeyColumns>(`DELETE FROM oauth_tokens WHERE ${OF_ACCOUNT}`),
  reseal: db.prepare<KeyColumns & Tokens & { oldAccessToken: string; oldRefreshToken: string }>(
    `UPDATE oauth_tokens SET access_token = @accessToken, refresh_token = @refreshToken
     WHERE ${OF_ACCOUNT} AND access_token = @oldAccessToken AND refresh_token = @oldRefreshToken`,
  ),
  heads: db.prepare<Page, KeyColumns & Tokens>(
    `SELECT user_id AS userId, provider, inbox_id AS inboxId,
       ${headOf('access_token')} AS accessToken, ${headOf('refresh_token')} AS refreshToken
     FROM oauth_tokens ${PAGE}`,
  ),
  accessSamples: db.prepare<[], { sealed: string }>(samplesOf('access_token')),
  refreshSamples: db.prepare<[], { sealed: string }>(samplesOf('refresh_token')),
  erased: db.prepare<[], typeof erasedUsers.$inferSelect>('SELECT user_id AS userId, record FROM erased_users'),
  noteErased: db.prepare<typeof erasedUsers.$inferSelect>(
    `INSERT INTO erased_users (user_id, record) VALUES (@userId, @record)
     ON CONFLICT (user_id) DO UPDATE SET record = excluded.record`,
  ),
})
