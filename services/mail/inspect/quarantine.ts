/** The messages of a user that are set aside. It reads the fetch queue and touches nothing in it. */
import { QUARANTINE_MAX, type QuarantineReply } from '#shared/inspect.ts'
import { type AccountRef, toSeconds } from '../base/model.ts'
import { queueDepth } from '../store/fetch-queue.ts'
import { setAsideEntries, type TracedEntry } from '../store/trace.ts'
import type { UserStore } from '../store/user-store.ts'

export type QuarantineDeps = { store: Pick<UserStore, 'read'>; accounts: readonly AccountRef[]; instance: string }

export function quarantine(userId: string, { store, accounts, instance }: QuarantineDeps): QuarantineReply {
  let left = QUARANTINE_MAX
  return store.read(userId, (db) => ({
    user_id: userId,
    instance,
    accounts: accounts.map((account) => {
      const entries = setAsideEntries(db, account, left)
      left -= entries.length
      return {
        provider: account.provider,
        inbox_id: account.inboxId,
        set_aside: queueDepth(db, account).setAside,
        messages: entries.map(messageOf),
      }
    }),
  }))
}

/** Cursors are left out: so many would not fit into a message. */
const messageOf = ({ id, attempts, reason, error, nextAtMs, listedBy }: TracedEntry) => ({
  message_id: id,
  attempts,
  reason,
  error,
  next_attempt_at: nextAtMs === 0 ? null : toSeconds(nextAtMs),
  lane: listedBy?.lane ?? null,
  listed_at: listedBy === null ? null : toSeconds(listedBy.atMs),
})
