/** The revocations of one user that are under way: at most one per account, the one that its record asks for. */
import { type AccountRef, accountName } from '../base/model.ts'
import { type RevocationDeps, revokeGrantOf } from './revocation.ts'

type Revoking = { sealed: string; stop: AbortController; ended: Promise<void> }

export class Revocations {
  readonly #revoking = new Map<string, Revoking>()
  readonly #deps: RevocationDeps
  readonly #signal: AbortSignal

  /** @param signal ends all of them */
  constructor(deps: RevocationDeps, signal: AbortSignal) {
    this.#deps = deps
    this.#signal = signal
  }

  get isEmpty(): boolean {
    return this.#revoking.size === 0
  }

  /** Revokes what the record says now; a revocation that it no longer asks for ends. */
  follow(account: AccountRef, sealed: string | null): void {
    const name = accountName(account)
    const current = this.#revoking.get(name)
    if (current?.sealed === sealed) return
    current?.stop.abort(new Error('no longer to be revoked'))
    if (sealed === null) return
    const stop = new AbortController()
    const signal = AbortSignal.any([stop.signal, this.#signal])
    const ended = revokeGrantOf(account, sealed, this.#deps, signal)
      .catch((error) => {
        if (!signal.aborted) this.#deps.log.error({ err: error }, 'revocation ended in a fault')
      })
      .finally(() => {
        if (this.#revoking.get(name)?.stop === stop) this.#revoking.delete(name)
      })
    this.#revoking.set(name, { sealed, stop, ended })
  }

  /** Resolves when those that are under way have ended. */
  async ended(): Promise<void> {
    await Promise.allSettled([...this.#revoking.values()].map(({ ended }) => ended))
  }
}
