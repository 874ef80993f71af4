/**
 * Which credential of an account holds: the one in its record (the authority) or the one in auth.db (ahead of it after
 * a refresh whose write to KV did not happen). It moves credentials between the two; it never calls a provider.
 */
import { setImmediate as yieldTurn } from 'node:timers/promises'
import type { Log } from '#shared/log.ts'
import { type AccountRef, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import {
  type AccountRecord,
  type ConnectedRecord,
  credentialId,
  type Revised,
  RevisionConflict,
} from '../kv/account-record.ts'
import type { AuthRow, AuthStore, RecordBase, RecordFacts, SealedTokens } from '../store/auth-store.ts'
import { isBehind, isOldNews, isOrphan, sameMailbox } from './compare.ts'
import { openCredential, openPair, sealCredential, sealPair, type Tokens } from './credential.ts'
import type { Seal } from './seal.ts'

/** `mail_accounts`, as far as tokens need it. */
export type AccountRecords = {
  /** As the leader has it. Any rejection counts as "KV cannot be reached". */
  read(account: AccountRef, signal: AbortSignal): Promise<Revised<AccountRecord> | null>
  /** Compare-and-set; null = create. Answers the new revision. @throws RevisionConflict */
  write(account: AccountRef, record: AccountRecord, revision: number | null, signal: AbortSignal): Promise<number>
}

/** There is no credential to use: the account was disconnected, or never connected. */
export class NotConnectedError extends Error {
  override readonly name = 'NotConnectedError'
  constructor() {
    super('the account is not connected')
  }
}

export type VaultParts = {
  auth: AuthStore
  records: AccountRecords
  seal: Seal
  clock: Clock
  log: Log
  /** Creation of the bucket behind `records`, epoch ms; asked at each use, because a reconnect may meet a new one. */
  bucketCreatedMs(): number
}

/** The record of a connected account. */
export type Connected = Revised<ConnectedRecord>

/** A credential, and the record that it was read with; null when KV could not be reached. */
export type Current = { tokens: Tokens; base: Connected | null }

/** A row to be written as a record; `rowToken` is the sealed access token that it had then. */
export type Restorable = { account: AccountRef; rowToken: string; record: AccountRecord }

const KV_DEADLINE_MS = 2_000
/** Rows that are looked at before others get a turn. */
const LOOKS_A_TURN = 500
const CAS_ROUNDS = 5

export class CredentialVault {
  readonly #parts: VaultParts
  constructor(parts: VaultParts) {
    this.#parts = parts
  }

  /**
   * The credential that holds now: re-reads KV; a row of auth.db that is ahead of the record is written to it first.
   * Without KV it is the row's.
   * @throws NotConnectedError, KeyUnavailableError, SealBrokenError, or what KV threw when there is no row either.
   */
  async current(account: AccountRef, signal: AbortSignal): Promise<Current> {
    const { auth, seal } = this.#parts
    const read = await this.#read(account, signal)
    const row = auth.get(account)
    if ('fault' in read) {
      if (row === null) throw read.fault
      return { tokens: await openPair(seal, account, row), base: null }
    }
    // A bucket whose records are not restored yet says nothing about the account.
    if (read.found === null && row !== null) return { tokens: await openPair(seal, account, row), base: null }
    const theirs = this.#connected(account, read.found)
    if (row !== null && this.#isAhead(row, theirs)) {
      const tokens = await openPair(seal, account, row)
      return await this.#push(account, tokens, row.accessToken, theirs, signal)
    }
    return this.#take(account, theirs)
  }

  /**
   * Makes a refreshed credential durable: auth.db first, then KV. Answers the credential that holds afterwards, which is
   * another one when somebody else refreshed or reconnected meanwhile.
   * @throws when neither could store it.
   */
  async save(account: AccountRef, tokens: Tokens, base: Connected | null, signal: AbortSignal): Promise<Tokens> {
    const { seal, log } = this.#parts
    const pair = await sealPair(seal, account, tokens)
    const failure = this.#putDirty(account, pair, base)
    const held = base === null ? { tokens, base } : await this.#push(account, tokens, pair.accessToken, base, signal)
    if (failure !== null) {
      if (held.base === null) throw failure.error
      log.error({ err: failure.error, provider: account.provider }, 'auth.db refuses a refreshed token; KV has it')
    }
    return held.tokens
  }

  /**
   * Mirrors a record into auth.db, or deletes the row when it says disconnected. Old news are ignored, a row that is
   * ahead stays. `present`: the leader has just said so, and it is no old news whatever its revision.
   * Answers the credential when it is new.
   */
  async note(
    account: AccountRef,
    record: AccountRecord,
    revision: number,
    present?: 'present',
  ): Promise<Tokens | null> {
    const { auth, seal } = this.#parts
    const verdict = this.#compare(auth.get(account), { record, revision }, present)
    if (verdict === 'old') return null
    if (record.desired === 'disconnected') {
      auth.delete(account)
      return null
    }
    const id = credentialId(record)
    if (record.credential === null || id === null) return null
    const base = this.#baseOf(id, revision)
    if (verdict === 'same credential') {
      auth.rebase(account, base, factsOf(record))
      return null
    }
    const tokens = await openCredential(seal, account, record.credential)
    const pair = await sealPair(seal, account, tokens)
    // Sealing took a moment, in which a newer record or a refresh may have been stored.
    if (this.#compare(auth.get(account), { record, revision }, present) !== 'new credential') return null
    auth.put({ account, ...pair, ...base, ...factsOf(record), dirty: false }, record.updated_at)
    return tokens
  }

  /** Deletes the row. */
  forget(account: AccountRef): void {
    this.#parts.auth.delete(account)
  }

  /** A row that was restored as a record; its sealed access token tells whether it is still that row. */
  restored(account: AccountRef, rowToken: string, record: AccountRecord, revision: number): void {
    const id = credentialId(record)
    if (id !== null) this.#parts.auth.markClean(account, rowToken, this.#baseOf(id, revision))
  }

  /** The row is later than the record of the same mailbox that the leader has. */
  isAheadOf(account: AccountRef, theirs: Revised<AccountRecord>): boolean {
    const row = this.#parts.auth.get(account)
    return row !== null && isBehind(theirs, row, this.#parts.bucketCreatedMs()) && sameMailbox(row, theirs.record)
  }

  /**
   * What to write again after a lost JetStream or one that went backwards: the rows whose records are gone, by the
   * revisions at which these stand now, as records. `updated_at` is the time of the row's credential, by which two
   * instances that hold rows find out who has the newer one.
   */
  async *recordsToRestore(revisionOf: (account: AccountRef) => number | null): AsyncGenerator<Restorable> {
    const { auth, seal, log } = this.#parts
    let looked = 0
    for (const row of auth.list()) {
      if (++looked % LOOKS_A_TURN === 0) await yieldTurn()
      if (!isOrphan(row, revisionOf(row.account), this.#parts.bucketCreatedMs())) continue
      const { account, accessToken, mailbox, address, reauth } = row
      try {
        const credential = await sealCredential(seal, account, await openPair(seal, account, row))
        const facts = { mailbox, address, credential, revoke: null, reauth, updated_at: row.updatedAtS }
        // auth.db does not know whether the credential was ever seen to open this mailbox: the worker asks first.
        const check = mailbox === null ? {} : { unverified: true as const }
        yield { account, rowToken: accessToken, record: { v: 1, desired: 'connected', ...facts, ...check } }
      } catch (error) {
        log.error(
          { err: error, provider: account.provider },
          'a stored credential cannot be restored; it stays as it is',
        )
      }
    }
  }

  async #read(
    account: AccountRef,
    signal: AbortSignal,
  ): Promise<{ found: Revised<AccountRecord> | null } | { fault: unknown }> {
    try {
      return { found: await this.#parts.records.read(account, deadline(signal)) }
    } catch (fault) {
      signal.throwIfAborted()
      this.#parts.log.warn({ err: fault, provider: account.provider }, 'the record of an account cannot be read')
      return { fault }
    }
  }

  #connected(account: AccountRef, found: Revised<AccountRecord> | null): Connected {
    if (found?.record.desired === 'disconnected' && !this.isAheadOf(account, found)) this.#parts.auth.delete(account)
    if (found === null || found.record.desired !== 'connected' || found.record.credential === null)
      throw new NotConnectedError()
    return { record: { ...found.record, credential: found.record.credential }, revision: found.revision }
  }

  async #take(account: AccountRef, theirs: Connected): Promise<Current> {
    const tokens = await openCredential(this.#parts.seal, account, theirs.record.credential)
    await this.note(account, theirs.record, theirs.revision)
    return { tokens, base: theirs }
  }

  /** Stores a refreshed credential with the record it started from; the error when auth.db refuses. */
  #putDirty(account: AccountRef, pair: SealedTokens, base: Connected | null): { error: unknown } | null {
    const { auth, clock } = this.#parts
    try {
      const from =
        base === null
          ? auth.get(account)
          : { ...this.#baseOf(credentialId(base.record), base.revision), ...factsOf(base.record) }
      // Without record and row it was disconnected meanwhile.
      if (from === null) throw new NotConnectedError()
      auth.put({ ...from, account, ...pair, dirty: true }, toSeconds(clock.wallMs()))
      return null
    } catch (error) {
      if (error instanceof NotConnectedError) throw error
      return { error }
    }
  }

  /**
   * Writes a credential into the record at the revision it started from. A record whose credential is still that one
   * (only its seal or its other fields changed) is no loss; another credential is, and holds. Without KV the row stays dirty.
   */
  async #push(
    account: AccountRef,
    tokens: Tokens,
    rowToken: string,
    from: Connected,
    signal: AbortSignal,
  ): Promise<Current> {
    const { auth, records, seal, clock, log } = this.#parts
    const credential = await sealCredential(seal, account, tokens)
    let base = from
    for (let round = 1; round <= CAS_ROUNDS; round++) {
      const record = { ...base.record, credential, updated_at: toSeconds(clock.wallMs()) }
      try {
        const revision = await records.write(account, record, base.revision, deadline(signal))
        auth.markClean(account, rowToken, this.#baseOf(credentialId(record), revision))
        return { tokens, base: { record, revision } }
      } catch (error) {
        if (!(error instanceof RevisionConflict)) {
          signal.throwIfAborted()
          log.warn(
            { err: error, provider: account.provider },
            'a refreshed credential is not in KV yet; auth.db has it',
          )
          return { tokens, base: null }
        }
      }
      const read = await this.#read(account, signal)
      if ('fault' in read) return { tokens, base: null }
      const theirs = this.#connected(account, read.found)
      if (credentialId(theirs.record) !== credentialId(base.record)) return this.#take(account, theirs)
      base = theirs
    }
    return { tokens, base: null }
  }

  /** What a record is to the row: old news, a change beside the credential, or another credential. */
  #compare(
    row: AuthRow | null,
    theirs: Revised<AccountRecord>,
    present?: 'present',
  ): 'old' | 'same credential' | 'new credential' {
    if (row === null) return 'new credential'
    const { record } = theirs
    const createdMs = this.#parts.bucketCreatedMs()
    if (present === undefined && isOldNews(theirs, row, createdMs)) return 'old'
    // Restored by an instance that had an older credential, or fallen back: ours is still to be restored over it.
    if (isBehind(theirs, row, createdMs)) return 'old'
    return credentialId(record) === row.kvHash ? 'same credential' : 'new credential'
  }

  /** A refresh that started from this very credential and never reached KV, or a record that fell behind the row. */
  #isAhead(row: AuthRow, theirs: Connected): boolean {
    return (row.dirty && row.kvHash === credentialId(theirs.record)) || this.isAheadOf(row.account, theirs)
  }

  #baseOf(id: string, revision: number): RecordBase {
    return { kvRev: revision, kvHash: id, bucketCreatedMs: this.#parts.bucketCreatedMs() }
  }
}

const factsOf = ({ mailbox, address, reauth }: AccountRecord): RecordFacts => ({ mailbox, address, reauth })

const deadline = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(KV_DEADLINE_MS)])
