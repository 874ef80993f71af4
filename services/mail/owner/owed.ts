/**
 * Records that the audit trail is owed. Whoever changes an account writes the record of it into the account's own record, in
 * the same compare-and-set; the owner of the user puts it on the trail and takes it out again. So a crash between the two
 * loses none, and none comes twice.
 */
import type { Log } from '#shared/log.ts'
import type { TrailRecord } from '#shared/trail.ts'
import { type AccountRef, accountName } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { withoutOwed } from '../kv/account-record.ts'
import type { Accounts } from '../kv/accounts.ts'

const AGAIN_MS = 5_000

export type OwedDeps = {
  accounts: Accounts
  /** Puts it there exactly once. */
  trail: { append(record: TrailRecord): Promise<void> }
  clock: Clock
  log: Log
}

export class Owed {
  readonly #paying = new Map<string, Promise<void>>()
  readonly #deps: OwedDeps
  readonly #signal: AbortSignal

  /** @param signal ends all of it */
  constructor(deps: OwedDeps, signal: AbortSignal) {
    this.#deps = deps
    this.#signal = signal
  }

  get isEmpty(): boolean {
    return this.#paying.size === 0
  }

  /** One at a time for each account. @param after what the account owes at this revision of its record is paid */
  follow(account: AccountRef, after = 0): void {
    const name = accountName(account)
    if (this.#paying.has(name) || this.#signal.aborted || !this.#deps.accounts.owes(account, after)) return
    const paid = this.#pay(account).then(
      (revision) => {
        this.#paying.delete(name)
        // Owed since; a replica that has not heard yet that it was paid says nothing new.
        this.follow(account, revision)
      },
      (error) => {
        this.#paying.delete(name)
        if (!this.#signal.aborted) this.#deps.log.error({ err: error }, 'telling the audit trail ended in a fault')
      },
    )
    this.#paying.set(name, paid)
  }

  /** Resolves when what is under way has ended. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#paying.values())
  }

  /** @returns the revision at which nothing was owed */
  async #pay(account: AccountRef): Promise<number> {
    const { accounts, trail, clock, log } = this.#deps
    for (;;) {
      try {
        const found = await accounts.read(account)
        const owed = found?.record.owed ?? []
        for (const record of owed) {
          this.#signal.throwIfAborted()
          await trail.append(record)
        }
        if (owed.length === 0) return found?.revision ?? Number.POSITIVE_INFINITY
        this.#signal.throwIfAborted()
        await accounts.change(account, (now) => withoutOwed(now, owed))
      } catch (error) {
        this.#signal.throwIfAborted()
        log.warn({ err: error }, 'a record of the trail is not taken; it is tried again')
        await clock.sleep(AGAIN_MS, this.#signal)
      }
    }
  }
}
