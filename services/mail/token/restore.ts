/**
 * Brings the records of the accounts back after a lost JetStream, from auth.db. It creates, and overwrites only an older
 * credential of the same mailbox that another instance has restored; it never deletes.
 */
import type { AccountRef } from '../base/model.ts'
import { type AccountRecord, RevisionConflict } from '../kv/account-record.ts'
import type { TokenProvider } from './tokens.ts'
import type { AccountRecords } from './vault.ts'

export type Restored = { restored: number; alreadyThere: number }

/**
 * Restores the accounts whose rows belong to a bucket older than this one. May be cut off and repeated at any point.
 * @throws what KV throws; then it is to be called again at the next connection.
 */
export async function restoreRecords(
  tokens: TokenProvider,
  records: AccountRecords,
  bucketCreatedMs: number,
  signal: AbortSignal,
): Promise<Restored> {
  const count: Restored = { restored: 0, alreadyThere: 0 }
  for await (const { account, record } of tokens.recordsToRestore(bucketCreatedMs)) {
    signal.throwIfAborted()
    if (await restoreOne(tokens, records, account, record, signal)) count.restored++
    else count.alreadyThere++
  }
  return count
}

async function restoreOne(
  tokens: TokenProvider,
  records: AccountRecords,
  account: AccountRef,
  ours: AccountRecord,
  signal: AbortSignal,
): Promise<boolean> {
  if (await tryWrite(tokens, records, account, ours, null, signal)) return true
  const theirs = await records.read(account, signal)
  if (theirs === null) return false
  const { record, revision } = theirs
  const older = record.desired === 'connected' && record.updated_at < ours.updated_at
  const sameMailbox = record.mailbox === null || ours.mailbox === null || record.mailbox === ours.mailbox
  if (older && sameMailbox) {
    const newer = { ...record, credential: ours.credential, updated_at: ours.updated_at }
    // Lost again: the watch brings the winner.
    return tryWrite(tokens, records, account, newer, revision, signal)
  }
  await tokens.noteRecord(account, record, revision)
  return false
}

/** False when the compare-and-set was lost. */
async function tryWrite(
  tokens: TokenProvider,
  records: AccountRecords,
  account: AccountRef,
  record: AccountRecord,
  revision: number | null,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await tokens.noteRecord(account, record, await records.write(account, record, revision, signal))
    return true
  } catch (error) {
    if (error instanceof RevisionConflict) return false
    throw error
  }
}
