/**
 * Every instance mirrors the sealed credentials of all accounts into its auth.db, so that each can bring the records
 * back when JetStream is lost or goes backwards. A record that says disconnected deletes the row; a record that is missing deletes nothing.
 * What is left here of a user who was erased goes, before anything is brought back.
 */

import PQueue from 'p-queue'
import { aborted } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import { accountKey, parseAccountKey, parseUserKey } from '#shared/subjects.ts'
import type { AccountRef } from '../base/model.ts'
import { RevisionConflict } from '../kv/account-record.ts'
import type { Accounts } from '../kv/accounts.ts'
import type { AuthStore } from '../store/auth-store.ts'
import type { UserStore } from '../store/user-store.ts'
import { restoreRecords } from '../token/restore.ts'
import type { TokenProvider } from '../token/tokens.ts'
import { erasedUsers } from './erased-users.ts'

const LOOK_DEADLINE_MS = 30_000

export type MirrorParts = {
  accounts: Accounts
  tokens: TokenProvider
  auth: AuthStore
  store: () => Promise<UserStore>
  log: Log
}
export type Mirror = {
  /**
   * Brings back what the bucket has lost, and pushes refreshed tokens that KV has not seen. It waits for a whole look at
   * the bucket, for 30 seconds at most.
   */
  restore(signal: AbortSignal): Promise<void>
  /** Follows the records until the signal aborts. */
  run(signal: AbortSignal): Promise<void>
}

export function mirrorCredentials(parts: MirrorParts): Mirror {
  const { accounts, tokens, auth, log } = parts
  const erased = erasedUsers(parts)
  // Bound: the accounts, and the users who are erased. One that waits is mirrored as it is at its turn, however often it has
  // changed by then.
  const work = new PQueue({ concurrency: 4 })
  const waiting = new Set<string>()
  const mirror = async (key: string): Promise<void> => {
    waiting.delete(key)
    const account = parseAccountKey(key)
    const entry = accounts.replica.entries.get(key)
    if (account === null || entry === undefined || 'erase' in entry.record) return
    await tokens.noteRecord(account, entry.record, entry.revision)
  }
  const note = (key: string): void => {
    if (waiting.has(key)) return
    waiting.add(key)
    void work.add(() => mirror(key)).catch((error) => log.error({ err: error }, 'a credential could not be mirrored'))
  }
  return {
    async restore(signal) {
      const records = {
        read: (account: Parameters<Accounts['read']>[0]) => accounts.read(account),
        write: async (...[account, record, revision]: Parameters<Accounts['write']>) => {
          if (accounts.isToErase(account.userId)) throw new RevisionConflict('the user is being erased')
          return await accounts.write(account, record, revision)
        },
      }
      const { replica } = accounts
      await replica.whenFresh(AbortSignal.any([signal, AbortSignal.timeout(LOOK_DEADLINE_MS)]))
      await erased.restore()
      await erased.sweep()
      const revisionOf = ({ userId, provider, inboxId }: AccountRef): number | null =>
        replica.entries.get(accountKey(userId, provider, inboxId))?.revision ?? null
      const { restored } = await restoreRecords(tokens, records, revisionOf, signal)
      for (const account of auth.dirtyAccounts()) {
        await tokens
          .pushDirty(account, signal)
          .catch((error) => log.warn({ err: error }, 'a refreshed token could not be pushed yet'))
      }
      if (restored > 0) log.warn({ restored }, 'accounts were brought back from auth.db')
    },
    async run(signal) {
      const stop = accounts.replica.listen((key) => {
        note(key)
        const user = parseUserKey(key)
        if (user?.of === 'erasure') void work.add(() => erased.sweepOne(user.userId))
      })
      void work.add(() => erased.sweep())
      for (const key of accounts.replica.entries.keys()) note(key)
      await aborted(signal)
      stop()
      await work.onIdle()
    },
  }
}
