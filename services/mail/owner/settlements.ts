/**
 * What records of one user ask for beside a worker: grants to be revoked, records that the audit trail is owed, and all of
 * the user to be erased.
 */
import type { Epoch } from '../base/model.ts'
import type { AccountEntry } from '../kv/accounts.ts'
import { Owed, type OwedDeps } from './owed.ts'
import type { RevocationDeps } from './revocation.ts'
import { Revocations } from './revocations.ts'

export type SettlementDeps = RevocationDeps &
  OwedDeps & {
    /** Resolves when nothing of the user is left. @throws the signal's reason */
    erase(userId: string, epoch: Epoch, signal: AbortSignal): Promise<void>
  }

export class Settlements {
  readonly #revocations: Revocations
  readonly #owed: Owed
  readonly #erase: SettlementDeps['erase']
  readonly #signal: AbortSignal
  #erasing: Promise<void> | null = null

  /** @param signal ends all of them */
  constructor(deps: SettlementDeps, signal: AbortSignal) {
    this.#revocations = new Revocations(deps, signal)
    this.#owed = new Owed(deps, signal)
    this.#erase = deps.erase
    this.#signal = signal
  }

  get isEmpty(): boolean {
    return this.#revocations.isEmpty && this.#owed.isEmpty && this.#erasing === null
  }

  /** Does what the record asks for now. */
  follow({ account, record }: AccountEntry): void {
    this.#revocations.follow(account, record.revoke)
    this.#owed.follow(account)
  }

  /** @param ended called when nothing is left, or with what went wrong */
  erase(userId: string, epoch: Epoch, ended: (error: unknown) => void): void {
    const erased = new Error('the user was erased')
    this.#erasing = this.#erase(userId, epoch, this.#signal).then(() => ended(erased), ended)
  }

  /** Resolves when those that are under way have ended. */
  async ended(): Promise<void> {
    await Promise.all([this.#revocations.ended(), this.#owed.ended(), this.#erasing])
  }
}
