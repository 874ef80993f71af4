/** Tables of `auth.db`: the sealed tokens of the accounts whose records this instance has seen. */
import { index, integer, primaryKey, sql, sqliteTable, text } from '../drizzle.ts'

/** A mirror of the credentials in `mail_accounts`, ahead of them while `dirty`. */
export const oauthTokens = sqliteTable(
  'oauth_tokens',
  {
    userId: text('user_id').notNull(),
    provider: text('provider', { enum: ['GOOGLE', 'MICROSOFT'] }).notNull(),
    inboxId: text('inbox_id').notNull(),
    /** Sealed. */
    accessToken: text('access_token').notNull(),
    /** Sealed. */
    refreshToken: text('refresh_token').notNull(),
    /** Epoch seconds at which the access token ends. */
    expiry: integer('expiry').notNull(),
    createdAt: integer('created_at').notNull(),
    updatedAt: integer('updated_at').notNull(),
    /** Revision of the record that this row mirrors, or, while dirty, started from. */
    kvRev: integer('kv_rev').notNull(),
    /** Which credential that record held: SHA-256, hex, of the value that it was first sealed as. */
    kvHash: text('kv_hash').notNull(),
    /** The bucket that the revision counts in: its creation in epoch ms. */
    bucketCreated: integer('bucket_created').notNull(),
    /** Refreshed, but the record does not have it yet. */
    dirty: integer('dirty', { mode: 'boolean' }).notNull(),
    /** The rest of the record, to write it again after a lost JetStream. */
    mailbox: text('mailbox'),
    address: text('address'),
    /** JSON {code, at}. */
    reauth: text('reauth'),
  },
  (table) => [
    primaryKey({ columns: [table.userId, table.provider, table.inboxId] }),
    index('oauth_tokens_dirty').on(table.userId).where(sql`dirty = 1`),
  ],
)

/** Users who were erased, as this instance has applied it: what an old disk or a lost bucket brings back is gone again. */
export const erasedUsers = sqliteTable('erased_users', {
  userId: text('user_id').primaryKey(),
  /** The record of the bucket, JSON. */
  record: text('record').notNull(),
})
