/** An open database of one user, with what is asked of it for each transaction made once. */

import type { UserReader, UserTx } from './prepared.ts'
import { type Database, openDatabase } from './sqlite.ts'

export type Handle = {
  database: Database
  tx: UserTx
  reader: UserReader
  /** One snapshot. */
  read<T>(work: () => T): T
  /** All or nothing of what `work` writes; nobody else writes meanwhile. */
  write<T>(work: () => T): T
  /** Pages in the write-ahead log, copied or not. */
  walPages(): number
}

/** @param walPages as for `openDatabase` @throws as `openDatabase` does */
export function openHandle(userId: string, file: string, walPages: number | undefined): Handle {
  const database = openDatabase({
    file,
    kind: 'user',
    synchronous: 'NORMAL',
    ...(walPages !== undefined && { walPages }),
  })
  try {
    return handleOf(userId, database)
  } catch (error) {
    database.close()
    throw error
  }
}

function handleOf(userId: string, database: Database): Handle {
  const { db, sqlite } = database
  const transaction = sqlite.transaction((work: () => unknown): unknown => work())
  // Looks at the log and copies nothing. To prepare it reads the whole schema.
  const state = sqlite.prepare<[], { log: number }>('PRAGMA wal_checkpoint(NOOP)')
  return {
    database,
    tx: { userId, db },
    reader: { userId, db },
    read: <T>(work: () => T) => transaction.deferred(work) as T,
    write: <T>(work: () => T) => transaction.immediate(work) as T,
    walPages: () => state.get()?.log ?? 0,
  }
}
