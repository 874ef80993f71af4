/**
 * Every instance mirrors the sealed credentials of all accounts into its auth.db, so that each can bring the records
 * back when JetStream is lost. A record that says disconnected deletes the row; a record that is missing deletes nothing.
 */

import PQueue from 'p-queue'
import { aborted } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import { parseAccountKey } from '#shared/subjects.ts'
import type { Accounts } from '../kv/accounts.ts'
import type { AuthStore } from '../store/auth-store.ts'
import { restoreRecords } from '../token/restore.ts'
import type { TokenProvider } from '../token/tokens.ts'
import type { Broker } from './broker.ts'

export type MirrorParts = { accounts: Accounts; tokens: TokenProvider; auth: AuthStore; broker: Broker; log: Log }
export type Mirror = {
  /** Brings back what a new bucket misses, and pushes refreshed tokens that KV has not seen. */
  restore(signal: AbortSignal): Promise<void>
  /** Follows the records until the signal aborts. */
  run(signal: AbortSignal): Promise<void>
}

export function mirrorCredentials({ accounts, tokens, auth, broker, log }: MirrorParts): Mirror {
  const work = new PQueue({ concurrency: 4 })
  const note = (key: string): void => {
    const account = parseAccountKey(key)
    const entry = accounts.replica.entries.get(key)
    if (account === null || entry === undefined) return
    void work
      .add(() => tokens.noteRecord(account, entry.record, entry.revision))
      .catch((error) => log.error({ err: error }, 'a credential could not be mirrored'))
  }
  return {
    async restore(signal) {
      const records = {
        read: (account: Parameters<Accounts['read']>[0]) => accounts.read(account),
        write: (...[account, record, revision]: Parameters<Accounts['write']>) =>
          accounts.write(account, record, revision),
      }
      const { restored } = await restoreRecords(tokens, records, broker.buckets.get('accounts').createdMs, signal)
      for (const account of auth.dirtyAccounts()) {
        await tokens
          .pushDirty(account, signal)
          .catch((error) => log.warn({ err: error }, 'a refreshed token could not be pushed yet'))
      }
      if (restored > 0) log.warn({ restored }, 'accounts were brought back from auth.db')
    },
    async run(signal) {
      const stop = accounts.replica.listen(note)
      for (const key of accounts.replica.entries.keys()) note(key)
      await aborted(signal)
      stop()
      await work.onIdle()
    },
  }
}
