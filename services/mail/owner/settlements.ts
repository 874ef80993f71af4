/** What records of one user ask for beside a worker: grants to be revoked, and records that the audit trail is owed. */
import type { AccountEntry } from '../kv/accounts.ts'
import { Owed, type OwedDeps } from './owed.ts'
import type { RevocationDeps } from './revocation.ts'
import { Revocations } from './revocations.ts'

export type SettlementDeps = RevocationDeps & OwedDeps

export class Settlements {
  readonly #revocations: Revocations
  readonly #owed: Owed

  /** @param signal ends all of them */
  constructor(deps: SettlementDeps, signal: AbortSignal) {
    this.#revocations = new Revocations(deps, signal)
    this.#owed = new Owed(deps, signal)
  }

  get isEmpty(): boolean {
    return this.#revocations.isEmpty && this.#owed.isEmpty
  }

  /** Does what the record asks for now. */
  follow({ account, record }: AccountEntry): void {
    this.#revocations.follow(account, record.revoke)
    this.#owed.follow(account)
  }

  /** Resolves when those that are under way have ended. */
  async ended(): Promise<void> {
    await Promise.all([this.#revocations.ended(), this.#owed.ended()])
  }
}
