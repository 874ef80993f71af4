/**
 * Seals stored tokens anew with the active key: the records of `mail_accounts` by compare-and-set, and the rows of this
 * instance's auth.db. Each row is written as a whole, so that after a crash it has the old seal or the new one, and both
 * open. What somebody else writes meanwhile holds. It changes no token, no time of a credential and no row's standing.
 */
import { setImmediate as yieldTurn } from 'node:timers/promises'
import type { Log } from '#shared/log.ts'
import type { AccountRef } from '../base/model.ts'
import { type AccountRecord, type ConnectedRecord, RevisionConflict, withSealedAnew } from '../kv/account-record.ts'
import type { AccountEntry } from '../kv/accounts.ts'
import type { AuthRow, AuthStore, Resealed } from '../store/auth-store.ts'
import { resealCredential, resealPair } from './credential.ts'
import type { KeyRing } from './keys.ts'
import { headFor, headOf, KeyUnavailableError, type Seal, SealBrokenError } from './seal.ts'

/** Rows that are sealed and written together, and what one pass holds in memory. */
const BATCH_ROWS = 100
/** Rows that are looked at before others get a turn. */
const LOOKS_A_TURN = 500

export type RekeyParts = {
  keys: KeyRing
  seal: Seal
  auth: Pick<AuthStore, 'list' | 'reseal'>
  /** All records that this instance sees. */
  records(): Iterable<AccountEntry>
  /** Compare-and-set. @throws RevisionConflict */
  write(account: AccountRef, record: AccountRecord, revision: number): Promise<number>
  /** Of several instances one should write the record; when two do, one of them does it in vain. */
  isMine(userId: string): boolean
  log: Log
}

export class Rekey {
  readonly #parts: RekeyParts
  #pass: Promise<void> | null = null
  #resealed = 0

  constructor(parts: RekeyParts) {
    this.#parts = parts
  }

  /** Rows that were sealed anew since the start of the process. */
  get resealed(): number {
    return this.#resealed
  }

  /**
   * One pass over everything; joins the one that is under way. Rows that it could not write, because others did or because
   * they do not open, are left to the next pass.
   * @throws what NATS or the disk throws, the signal's reason; what was written by then stays
   */
  pass(signal: AbortSignal): Promise<void> {
    this.#pass ??= this.#run(signal).finally(() => {
      this.#pass = null
    })
    return this.#pass
  }

  async #run(signal: AbortSignal): Promise<void> {
    for await (const batch of batches(this.#records())) {
      await this.#sealRecords(batch)
      signal.throwIfAborted()
    }
    for await (const batch of batches(this.#rows())) {
      await this.#sealRows(batch)
      signal.throwIfAborted()
    }
  }

  /** What waits to be revoked is left alone: it is gone within a minute. */
  *#records(): Generator<Outdated | null> {
    // The bucket goes on changing; what is gone by its turn loses its compare-and-set.
    for (const { account, record, revision } of [...this.#parts.records()]) {
      const { credential } = record
      const isDone = credential === null || this.#isActive(credential) || !this.#parts.isMine(account.userId)
      yield isDone ? null : { account, record: { ...record, credential }, revision }
    }
  }

  *#rows(): Generator<AuthRow | null> {
    for (const row of this.#parts.auth.list())
      yield this.#isActive(row.accessToken) && this.#isActive(row.refreshToken) ? null : row
  }

  async #sealRecords(batch: readonly Outdated[]): Promise<void> {
    const sealed = await this.#opened(batch, async ({ account, record, revision }) => {
      const credential = await resealCredential(this.#parts.seal, account, record.credential)
      return { account, record: withSealedAnew(record, credential), revision }
    })
    // Together, so that they may go as one batch.
    const written = await Promise.allSettled(
      sealed.map(({ account, record, revision }) => this.#parts.write(account, record, revision)),
    )
    this.#resealed += written.filter(({ status }) => status === 'fulfilled').length
    for (const each of written)
      if (each.status === 'rejected' && !(each.reason instanceof RevisionConflict)) throw each.reason
  }

  async #sealRows(batch: readonly AuthRow[]): Promise<void> {
    const resealed = await this.#opened(batch, async (row): Promise<Resealed> => {
      const { accessToken, refreshToken } = await resealPair(this.#parts.seal, row.account, row)
      return { row, accessToken, refreshToken }
    })
    this.#resealed += this.#parts.auth.reseal(resealed)
  }

  /** Those that could be opened; the others stay as they are, and are told of. */
  async #opened<T extends { account: AccountRef }, R>(batch: readonly T[], seal: (one: T) => Promise<R>): Promise<R[]> {
    const done = await Promise.all(
      batch.map(async (one) => {
        try {
          return [await seal(one)]
        } catch (error) {
          if (!(error instanceof KeyUnavailableError) && !(error instanceof SealBrokenError)) throw error
          this.#parts.log.error({ err: error, provider: one.account.provider }, 'a stored token cannot be sealed anew')
          return []
        }
      }),
    )
    return done.flat()
  }

  #isActive(sealed: string): boolean {
    return headOf(sealed) === headFor(this.#parts.keys.active().kid)
  }
}

type Outdated = { account: AccountRef; record: ConnectedRecord; revision: number }

/** What is to be done, a batch at a time; null has been looked at. */
async function* batches<T>(all: Iterable<T | null>): AsyncGenerator<T[]> {
  let batch: T[] = []
  let looked = 0
  for (const one of all) {
    if (++looked % LOOKS_A_TURN === 0) await yieldTurn()
    if (one === null) continue
    batch.push(one)
    if (batch.length < BATCH_ROWS) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
