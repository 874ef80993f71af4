/**
 * Brings the records of the accounts back after JetStream was lost or went backwards, from auth.db. It creates, and
 * overwrites only an older state of the same mailbox: one that another instance has restored, or that came back with the
 * bucket. It never deletes a record.
 */
import type { AccountRef } from '../base/model.ts'
import { type AccountRecord, RevisionConflict } from '../kv/account-record.ts'
import { newPositionsKey } from '../kv/sealed-lanes.ts'
import type { TokenProvider } from './tokens.ts'
import type { AccountRecords, Restorable } from './vault.ts'

export type Restored = { restored: number; alreadyThere: number }

/**
 * Restores the accounts whose records are gone. May be cut off and repeated at any point.
 * @param revisionOf where the account's record stands as far as this instance has seen; null when it is missing.
 * @throws what KV throws; then it is to be called again at the next connection.
 */
export async function restoreRecords(
  tokens: TokenProvider,
  records: AccountRecords,
  revisionOf: (account: AccountRef) => number | null,
  signal: AbortSignal,
): Promise<Restored> {
  const count: Restored = { restored: 0, alreadyThere: 0 }
  for await (const row of tokens.recordsToRestore(revisionOf)) {
    signal.throwIfAborted()
    if (await restoreOne(tokens, records, row, signal)) count.restored++
    else count.alreadyThere++
  }
  return count
}

async function restoreOne(
  tokens: TokenProvider,
  records: AccountRecords,
  row: Restorable,
  signal: AbortSignal,
): Promise<boolean> {
  const anew = { ...row.record, positions_key: newPositionsKey() }
  if (await tryWrite(tokens, records, { ...row, record: anew }, null, signal)) return true
  const { account } = row
  const theirs = await records.read(account, signal)
  if (theirs === null) return false
  // Lost again: the watch brings the winner.
  if (tokens.isAheadOf(account, theirs))
    return tryWrite(tokens, records, { ...row, record: over(theirs.record, row.record) }, theirs.revision, signal)
  await tokens.noteRecord(account, theirs.record, theirs.revision, 'present')
  return false
}

/** What is later holds; what it does not know stays. */
function over(theirs: AccountRecord, ours: AccountRecord): AccountRecord {
  const mailbox = ours.mailbox ?? theirs.mailbox
  const check = mailbox === null ? {} : { unverified: true as const }
  const owed = theirs.owed === undefined ? {} : { owed: theirs.owed }
  const { positions_key = newPositionsKey() } = theirs
  return { ...ours, ...check, ...owed, mailbox, positions_key, address: ours.address ?? theirs.address }
}

/** False when the compare-and-set was lost. */
async function tryWrite(
  tokens: TokenProvider,
  records: AccountRecords,
  row: Restorable,
  revision: number | null,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    tokens.restored(row, await records.write(row.account, row.record, revision, signal))
    return true
  } catch (error) {
    if (error instanceof RevisionConflict) return false
    throw error
  }
}
