/**
 * What is left on this disk of users who were erased: by other instances, or while this one was off. The record of an erased
 * user says what is from before; what is later is of who has connected again. Each is applied once to each disk, and kept in
 * auth.db: a JetStream that is lost takes the records along, and old disks would bring the accounts back.
 */
import * as v from 'valibot'
import type { Log } from '#shared/log.ts'
import { RevisionConflict } from '../kv/account-record.ts'
import type { Accounts } from '../kv/accounts.ts'
import { Erased, isFromBefore } from '../kv/erasure-record.ts'
import type { AuthStore } from '../store/auth-store.ts'
import type { UserStore } from '../store/user-store.ts'

export type ErasedUsersParts = {
  accounts: Pick<Accounts, 'erasureOf' | 'erasures' | 'writeErasure'>
  auth: Pick<AuthStore, 'eraseUser' | 'erasedUsers'>
  /** Opened when there is something to delete. */
  store: () => Promise<Pick<UserStore, 'erase'>>
  log: Log
}
export type ErasedUsers = {
  /** Brings back the records that the bucket has lost. @throws what KV throws */
  restore(): Promise<void>
  /** Deletes what is left of all that this instance knows to be erased. What the disk refuses is tried with the next call. */
  sweep(): Promise<void>
  sweepOne(userId: string): Promise<void>
}

const Kept = v.pipe(v.string(), v.parseJson(), Erased)

export function erasedUsers({ accounts, auth, store, log }: ErasedUsersParts): ErasedUsers {
  const applied = auth.erasedUsers()
  /** What the bucket says of an erased user, unless it was applied here. */
  const unapplied = (userId: string) => {
    const erasure = accounts.erasureOf(userId)
    return erasure?.erase === 'done' && applied.get(userId) !== JSON.stringify(erasure) ? erasure : null
  }
  const sweepOne = async (userId: string): Promise<void> => {
    if (unapplied(userId) === null) return
    try {
      const databases = await store()
      const erasure = unapplied(userId)
      if (erasure === null) return
      const text = JSON.stringify(erasure)
      databases.erase(userId, erasure.epoch)
      auth.eraseUser(userId, text, ({ bucketCreatedMs, kvRev }) =>
        isFromBefore(erasure, { bucketCreatedMs, revision: kvRev }),
      )
      applied.set(userId, text)
      log.info({ user: userId }, 'what this disk had of an erased user is deleted')
    } catch (error) {
      log.error({ err: error, user: userId }, 'what this disk has of an erased user cannot be deleted yet')
    }
  }
  return {
    sweepOne,
    sweep: async () => {
      for (const [userId] of [...accounts.erasures()]) await sweepOne(userId)
    },
    async restore() {
      for (const [userId, text] of applied)
        if (accounts.erasureOf(userId) === null)
          await accounts.writeErasure(userId, v.parse(Kept, text), null).catch((error) => {
            // Another instance was quicker.
            if (!(error instanceof RevisionConflict)) throw error
          })
    },
  }
}
