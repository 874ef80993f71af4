/**
 * The bytes of a snapshot: 16 of the event id and 8 of its sequence, big-endian, for each entry, in no order. Pure. They are
 * written by `ledgerPage`.
 */
import type { LedgerEntry } from '../store/ledger.ts'

const ID_BYTES = 16
export const ENTRY_BYTES = ID_BYTES + 8

/** @throws RangeError when the length is not that of whole entries. */
export function decodeEntries(bytes: Uint8Array): LedgerEntry[] {
  if (bytes.length % ENTRY_BYTES !== 0) throw new RangeError(`${bytes.length} bytes are no whole entries`)
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  return Array.from({ length: bytes.length / ENTRY_BYTES }, (_, i) => ({
    id: view.subarray(i * ENTRY_BYTES, i * ENTRY_BYTES + ID_BYTES),
    seq: Number(view.readBigUInt64BE(i * ENTRY_BYTES + ID_BYTES)),
  }))
}
