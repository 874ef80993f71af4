/**
 * `mail_accounts`: the desired state of every account, and which users are erased. Reads for a decision go to the leader; the replica serves
 * status, sharing and the supervisor. It never opens a sealed credential.
 */
import type { Log } from '#shared/log.ts'
import { accountKey, accountKeysOf, erasureKey, parseAccountKey, parseUserKey } from '#shared/subjects.ts'
import { type AccountRef, type ProviderName, stateName } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { AccountRecord, type Revised, RevisionConflict } from './account-record.ts'
import type { Bucket } from './bucket.ts'
import { ErasureRecord, isFromBefore } from './erasure-record.ts'
import { parseRecord } from './parse.ts'
import { Replica } from './replica.ts'

const CAS_ROUNDS = 5
const parse = parseRecord(AccountRecord)
const parseErasure = parseRecord(ErasureRecord)

export type AccountEntry = Revised<AccountRecord> & { account: AccountRef }
type Held = AccountEntry | Revised<AccountRecord | ErasureRecord>
/** What to write, or null to leave the record as it is. */
export type Change = (current: AccountRecord | null) => AccountRecord | null

export class Accounts {
  readonly replica: Replica<AccountRecord | ErasureRecord, Held>
  readonly #bucket: () => Bucket
  /** A list only where there are several: nearly every user has one account, and there are many users. */
  readonly #byUser = new Map<string, AccountEntry | readonly AccountEntry[]>()
  readonly #byMailbox = { google: new Map<string, number>(), microsoft: new Map<string, number>() }
  readonly #erasures = new Map<string, Revised<ErasureRecord>>()

  constructor(bucket: () => Bucket, clock: Clock, log: Log) {
    this.#bucket = bucket
    const entryOf = (key: string, revised: Revised<AccountRecord | ErasureRecord>): Held => this.#entryFor(key, revised)
    this.replica = new Replica((value) => parse(value) ?? parseErasure(value), clock, log, entryOf)
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
    // Erased while the answer was on its way.
    if (!this.#isErased(account.userId, written)) this.replica.note(keyOf(account), record, written)
    return written
  }

  /** All records of the user, as the leader has them. */
  async list(userId: string): Promise<AccountEntry[]> {
    return (await this.#bucket().find(accountKeysOf(userId))).flatMap(({ key, value, revision }) => {
      const [account, record] = [parseAccountKey(key), value === null ? null : parse(value)]
      return account === null || record === null ? [] : [{ account, record, revision }]
    })
  }

  /** Whether the user is to be erased, or was, as the leader has it; null = neither. */
  async readErasure(userId: string): Promise<Revised<ErasureRecord> | null> {
    const found = await this.#bucket().read(erasureKey(userId))
    const record = found === null ? null : parseErasure(found.value)
    return found === null || record === null ? null : { record, revision: found.revision }
  }

  /** Compare-and-set; `revision` null = create. @throws RevisionConflict */
  async writeErasure(userId: string, record: ErasureRecord, revision: number | null): Promise<void> {
    const key = erasureKey(userId)
    this.replica.note(key, record, await this.#bucket().write(key, JSON.stringify(record), revision))
  }

  /** Wishes, and what is left of those that were fulfilled, from the replica. */
  erasures(): Iterable<[userId: string, erasure: Revised<ErasureRecord>]> {
    return this.#erasures
  }
  erasureOf(userId: string): ErasureRecord | null {
    return this.#erasures.get(userId)?.record ?? null
  }
  /** Somebody wants the user to be erased, and it is not done; from the replica. */
  isToErase(userId: string): boolean {
    return this.#erasures.get(userId)?.record.erase === 'asked'
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
  ofUser(userId: string): readonly AccountEntry[] {
    const known = this.#byUser.get(userId) ?? NONE
    return 'account' in known ? [known] : known
  }

  /** What the account is bound to, from the replica. */
  mailboxOf(account: AccountRef): string | null {
    return this.#entryOf(account)?.record.mailbox ?? null
  }

  /** Its sealed credential, from the replica. */
  credentialOf(account: AccountRef): string | null {
    return this.#entryOf(account)?.record.credential ?? null
  }

  /** Key of the account's positions, by `<provider>.<inbox>`, from the replica; null when it has none. */
  positionsKey(userId: string, name: string): string | null {
    const entry = this.ofUser(userId).find(({ account }) => stateName(account) === name)
    return entry?.record.positions_key ?? null
  }

  /** The account's old grant waits to be revoked, from the replica. */
  isRevoking(account: AccountRef): boolean {
    return (this.#entryOf(account)?.record.revoke ?? null) !== null
  }

  /** All accounts, from the replica. */
  *entries(): Generator<AccountEntry> {
    for (const userId of this.#byUser.keys()) yield* this.ofUser(userId)
  }

  /** The audit trail is to be told something of the account, from the replica, if it is later than the revision. */
  owes(account: AccountRef, after = 0): boolean {
    const entry = this.#entryOf(account)
    return entry !== undefined && entry.revision > after && entry.record.owed !== undefined
  }

  /** Those who have accounts, and those who are to be erased. */
  *users(): Generator<string> {
    yield* this.#byUser.keys()
    for (const userId of this.#erasures.keys()) if (this.isToErase(userId) && !this.#byUser.has(userId)) yield userId
  }

  /**
   * True while somebody has to own the user: a connected account, a grant to be revoked, a record for the audit trail, or
   * all of the user to be erased.
   */
  needsOwner(userId: string): boolean {
    const asks = ({ record }: AccountEntry): boolean =>
      record.desired === 'connected' || record.revoke !== null || record.owed !== undefined
    return this.isToErase(userId) || this.ofUser(userId).some(asks)
  }

  /** How many connected accounts of all users share this mailbox; they share its quota. */
  sharers(provider: ProviderName, mailbox: string): number {
    return this.#byMailbox[provider].get(mailbox) ?? 0
  }

  #entryOf(account: AccountRef): AccountEntry | undefined {
    return this.ofUser(account.userId).find((entry) => isSame(entry.account, account))
  }

  #entryFor(key: string, { record, revision }: Revised<AccountRecord | ErasureRecord>): Held {
    const parts = 'erase' in record ? null : parseAccountKey(key)
    if (parts === null || 'erase' in record) return { record, revision }
    // One text in place of two equal ones, as nearly all users have.
    if (record.address === record.mailbox) record.address = record.mailbox
    return { account: this.#entryOf(parts)?.account ?? parts, record, revision }
  }

  #index(key: string, entry: Held | null): void {
    const about = parseUserKey(key)
    if (about?.of === 'erasure') this.#indexErasure(about.userId, entry)
    else this.#indexAccount(key, entry === null || !('account' in entry) ? null : entry)
  }

  #indexErasure(userId: string, entry: Held | null): void {
    if (entry === null || !('erase' in entry.record)) this.#erasures.delete(userId)
    else this.#erasures.set(userId, { ...entry, record: entry.record })
    for (const { account, revision } of this.ofUser(userId))
      if (this.#isErased(userId, revision)) this.replica.forget(keyOf(account))
  }

  #isErased(userId: string, revision: number): boolean {
    const erasure = this.erasureOf(userId)
    const from = { bucketCreatedMs: this.#bucket().createdMs, revision }
    return erasure?.erase === 'done' && isFromBefore(erasure, from)
  }

  #indexAccount(key: string, entry: AccountEntry | null): void {
    const parts = parseAccountKey(key)
    if (parts === null) return
    const known = this.ofUser(parts.userId)
    const at = known.findIndex(({ account }) => isSame(account, parts))
    this.#countMailbox(parts.provider, known[at]?.record, -1)
    this.#countMailbox(parts.provider, entry?.record, 1)
    // In the order in which they came, also those that have changed since; `concat` makes no room for more.
    const place = at < 0 ? known.length : at
    const accounts = known.slice(0, place).concat(entry ?? [], known.slice(place + 1))
    const [first] = accounts
    if (first === undefined) this.#byUser.delete(parts.userId)
    else this.#byUser.set(first.account.userId, accounts.length === 1 ? first : accounts)
  }

  #countMailbox(provider: ProviderName, record: AccountRecord | undefined, step: number): void {
    if (record === undefined || record.desired !== 'connected' || record.mailbox === null) return
    const counts = this.#byMailbox[provider]
    const count = (counts.get(record.mailbox) ?? 0) + step
    if (count > 0) counts.set(record.mailbox, count)
    else counts.delete(record.mailbox)
  }
}

const NONE: readonly AccountEntry[] = []

const isSame = (a: AccountRef, b: AccountRef): boolean =>
  a.inboxId === b.inboxId && a.provider === b.provider && a.userId === b.userId

const keyOf = (account: AccountRef): string => accountKey(account.userId, account.provider, account.inboxId)
