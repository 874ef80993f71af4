/** Up to where the user's subject is known here, as a checkpoint says it. */
import { ledgerEnd } from '../store/ledger.ts'
import { readMeta } from '../store/meta.ts'
import type { UserReader } from '../store/user-store.ts'
import type { Known } from './checkpoint-record.ts'

export function knownOf(reader: UserReader): Known {
  const { streamCreatedMs = null, gaps = {} } = readMeta(reader) ?? {}
  const end = ledgerEnd(reader)
  return { pub: end.seq, pubEventId: end.eventId, streamCreatedMs, gaps }
}
