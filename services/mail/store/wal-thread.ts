/** The thread of `WalCopies`: one log after the other. It opens a database only while it copies, and writes nothing else. */
import { parentPort } from 'node:worker_threads'
import SqliteDatabase from 'better-sqlite3'
import { COPIED, RUNNING, WAITING, type WalAnswer, type WalJob } from './wal-job.ts'

function copy(file: string): void {
  const sqlite = new SqliteDatabase(file, { fileMustExist: true })
  try {
    sqlite.pragma('wal_checkpoint(PASSIVE)')
  } finally {
    sqlite.close()
  }
}

parentPort?.on('message', ({ file, state }: WalJob) => {
  if (Atomics.compareExchange(state, 0, WAITING, RUNNING) !== WAITING) return
  let error: string | null = null
  try {
    copy(file)
  } catch (fault) {
    error = String(fault)
  }
  Atomics.store(state, 0, COPIED)
  Atomics.notify(state, 0)
  parentPort?.postMessage({ file, error } satisfies WalAnswer)
})
