/**
 * A row of auth.db and the record of its account: which is the later one. Revisions decide within one life of a bucket;
 * where it was lost or went backwards, the time of the credential does. Pure.
 */
import { type AccountRecord, credentialId, type Revised } from '../kv/account-record.ts'
import type { AuthRow } from '../store/auth-store.ts'

/**
 * The record that the row was made from is gone: the bucket is another one, or its record is missing or at a lower
 * revision, which only a bucket that went backwards makes of it: records are never deleted.
 */
export const isOrphan = (row: AuthRow, revision: number | null, bucketCreatedMs: number): boolean =>
  row.bucketCreatedMs !== bucketCreatedMs || revision === null || revision < row.kvRev

/** The very write that the row was made from. A bucket that went backwards gives its revision to another one, too. */
const isOrigin = ({ record, revision }: Revised<AccountRecord>, row: AuthRow): boolean =>
  revision === row.kvRev && credentialId(record) === row.kvHash

/**
 * The row is later than this record, though the revision does not say so. What another bucket says of a disconnected
 * account was said after the loss; in one that went backwards a disconnect may be as old as everything else.
 */
export function isBehind(theirs: Revised<AccountRecord>, row: AuthRow, bucketCreatedMs: number): boolean {
  const { record, revision } = theirs
  const isLost = isOrphan(row, revision, bucketCreatedMs) || (revision === row.kvRev && !isOrigin(theirs, row))
  if (!isLost || record.updated_at >= row.updatedAtS) return false
  return record.desired === 'connected' || row.bucketCreatedMs === bucketCreatedMs
}

/** Reached the row before, or is older than what did: news may come late. */
export const isOldNews = (theirs: Revised<AccountRecord>, row: AuthRow, bucketCreatedMs: number): boolean =>
  row.bucketCreatedMs === bucketCreatedMs &&
  (isOrigin(theirs, row) || (theirs.revision < row.kvRev && theirs.record.updated_at <= row.updatedAtS))

/** A credential is moved only between records and rows of one mailbox, as far as both know theirs. */
export const sameMailbox = (a: { mailbox: string | null }, b: { mailbox: string | null }): boolean =>
  a.mailbox === null || b.mailbox === null || a.mailbox === b.mailbox
