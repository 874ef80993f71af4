/**
 * `mail_accounts`: the desired state of every account. Reads for a decision go to the leader; the replica serves
 * status, sharing and the supervisor. It never opens a sealed credential.
 */
import type { Log } from '#shared/log.ts'
import { accountKey, parseAccountKey } from '#shared/subjects.ts'
import type { AccountRef } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { AccountRecord, type Revised, RevisionConflict } from './account-record.ts'
import type { Bucket } from './bucket.ts'
import { parseRecord } from './parse.ts'
import { Replica } from './replica.ts'

const CAS_ROUNDS = 5
const parse = parseRecord(AccountRecord)

export type AccountEntry = Revised<AccountRecord> & { account: AccountRef }
/** What to write, or null to leave the record as it is. */
export type Change = (current: AccountRecord | null) => AccountRecord | null

export class Accounts {
  readonly replica: Replica<AccountRecord>
  readonly #bucket: () => Bucket
  readonly #byUser = new Map<string, Map<string, AccountEntry>>()
  readonly #byMailbox = new Map<string, number>()

  constructor(bucket: () => Bucket, clock: Clock, log: Log) {
    this.#bucket = bucket
    this.replica = new Replica(parse, clock, log)
    this.replica.listen((key, entry) => this.#index(key, entry))
  }

  run(signal: AbortSignal): Promise<void> {
    return this.replica.run(this.#bucket, signal)
  }

  /** The account's record as the leader has it. */
  async read(account: AccountRef): Promise<Revised<AccountRecord> | null> {
    const found = await this.#bucket().read(keyOf(account))
    if (found === null) return null
    const record = parse(found.value)
    if (record === null) throw new Error(`record of ${keyOf(account)} cannot be read`)
    return { record, revision: found.revision }
  }

  /** Compare-and-set; `revision` null = create. Answers the new revision. @throws RevisionConflict */
  async write(account: AccountRef, record: AccountRecord, revision: number | null): Promise<number> {
    const written = await this.#bucket().write(keyOf(account), JSON.stringify(record), revision)
    this.replica.note(keyOf(account), record, written)
    return written
  }

  /**
   * Reads, changes and writes until the compare-and-set holds, at most five rounds.
   * @throws RevisionConflict when others kept winning.
   */
  async change(account: AccountRef, change: Change): Promise<Revised<AccountRecord> | null> {
    for (let round = 1; ; round++) {
      const current = await this.read(account)
      const next = change(current?.record ?? null)
      if (next === null) return current
      try {
        return { record: next, revision: await this.write(account, next, current?.revision ?? null) }
      } catch (error) {
        if (!(error instanceof RevisionConflict) || round === CAS_ROUNDS) throw error
      }
    }
  }

  /** Accounts of one user, from the replica. */
  ofUser(userId: string): AccountEntry[] {
    return [...(this.#byUser.get(userId)?.values() ?? [])]
  }

  /** What the account is bound to, from the replica. */
  mailboxOf(account: AccountRef): string | null {
    return this.replica.entries.get(keyOf(account))?.record.mailbox ?? null
  }

  /** The account's old grant waits to be revoked, from the replica. */
  isRevoking(account: AccountRef): boolean {
    return (this.replica.entries.get(keyOf(account))?.record.revoke ?? null) !== null
  }

  /** All accounts, from the replica. */
  *entries(): Generator<AccountEntry> {
    for (const accounts of this.#byUser.values()) yield* accounts.values()
  }

  /** The audit trail is to be told something of the account, from the replica, if it is later than the revision. */
  owes(account: AccountRef, after = 0): boolean {
    const entry = this.replica.entries.get(keyOf(account))
    return entry !== undefined && entry.revision > after && entry.record.owed !== undefined
  }

  users(): IterableIterator<string> {
    return this.#byUser.keys()
  }

  /** True while somebody has to own the user: a connected account, a grant to be revoked, a record for the audit trail. */
  needsOwner(userId: string): boolean {
    return this.ofUser(userId).some(
      ({ record }) => record.desired === 'connected' || record.revoke !== null || record.owed !== undefined,
    )
  }

  /** How many connected accounts of all users share this mailbox; they share its quota. */
  sharers(provider: string, mailbox: string): number {
    return this.#byMailbox.get(`${provider}:${mailbox}`) ?? 0
  }

  #index(key: string, entry: Revised<AccountRecord> | null): void {
    const parts = parseAccountKey(key)
    if (parts === null) return
    const known = this.#byUser.get(parts.userId)
    this.#countMailbox(parts.provider, known?.get(key)?.record, -1)
    this.#countMailbox(parts.provider, entry?.record, 1)
    if (entry !== null) {
      const accounts = known ?? new Map<string, AccountEntry>()
      accounts.set(key, { ...entry, account: parts })
      this.#byUser.set(parts.userId, accounts)
    } else if (known?.delete(key) && known.size === 0) this.#byUser.delete(parts.userId)
  }

  #countMailbox(provider: string, record: AccountRecord | undefined, step: number): void {
    if (record === undefined || record.desired !== 'connected' || record.mailbox === null) return
    const key = `${provider}:${record.mailbox}`
    const count = (this.#byMailbox.get(key) ?? 0) + step
    if (count > 0) this.#byMailbox.set(key, count)
    else this.#byMailbox.delete(key)
  }
}

const keyOf = (account: AccountRef): string => accountKey(account.userId, account.provider, account.inboxId)
