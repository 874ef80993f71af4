/** The workers of one user: one for each account that is connected and need not sign in again. */
import { type AccountRef, accountName } from '../base/model.ts'
import type { AccountEntry } from '../kv/accounts.ts'
import type { AccountState } from '../sync/account-state.ts'
import type { Worker } from '../sync/worker.ts'
import { isOutdated, type Running, runningOf } from './running.ts'

export type UserWorkersHost = {
  create(entry: AccountEntry): Worker
  /** One has ended by itself, or was stopped. */
  ended(): void
  /** One that was stopped has ended: the account may have been connected again meanwhile. */
  gone(): void
  failed(error: unknown): void
}

export class UserWorkers {
  readonly #host: UserWorkersHost
  /** Ends all of them. */
  readonly #signal: AbortSignal
  readonly #running = new Map<string, Running>()
  /** Of those that a release has ended: status and the last checkpoint are about them. */
  readonly #lastStates = new Map<string, AccountState>()

  constructor(host: UserWorkersHost, signal: AbortSignal) {
    this.#host = host
    this.#signal = signal
  }

  /** Starts, stops or replaces the worker of an account so that it is what the record asks for. */
  follow(entry: AccountEntry): void {
    const { record } = entry
    const wanted = record.desired === 'connected' && record.reauth === null && record.credential !== null
    const running = this.#running.get(accountName(entry.account))
    if (!wanted) this.#stop(entry, running)
    else if (running === undefined) this.#start(entry)
    else if (isOutdated(running, entry)) this.#restart(entry, running)
  }

  get size(): number {
    return this.#running.size
  }
  /** Nothing is under way for any of them. */
  get areIdle(): boolean {
    return [...this.#running.values()].every(({ worker }) => worker.isIdle)
  }
  of(account: AccountRef): Worker | undefined {
    return this.#running.get(accountName(account))?.worker
  }
  readonly stateOf = (account: AccountRef): AccountState | undefined =>
    this.of(account)?.state ?? this.#lastStates.get(accountName(account))
  recount(): void {
    for (const { worker } of this.#running.values()) worker.recount()
  }

  /** Stops all of them and keeps their states. Resolves when they have ended. */
  async release(reason: unknown): Promise<void> {
    for (const [name, { worker }] of this.#running) this.#lastStates.set(name, worker.state)
    await this.end(reason)
  }

  /** Stops all of them. Resolves when they have ended. */
  async end(reason: unknown): Promise<void> {
    for (const { stop } of this.#running.values()) stop.abort(reason)
    await Promise.allSettled([...this.#running.values()].map(({ ended }) => ended))
  }

  #start(entry: AccountEntry): void {
    const name = accountName(entry.account)
    const stop = new AbortController()
    const worker = this.#host.create(entry)
    const ended = worker.run(AbortSignal.any([stop.signal, this.#signal])).then(
      () => {
        this.#host.ended()
        // An account that ended by itself keeps its worker: its state is what status shows.
        if (!stop.signal.aborted || this.#running.get(name)?.stop !== stop) return
        this.#running.delete(name)
        this.#host.gone()
      },
      (error) => {
        this.#running.delete(name)
        this.#host.failed(error)
      },
    )
    this.#running.set(name, runningOf(entry, { worker, stop, ended }))
  }

  /** One that has ended by itself is kept for its state until the account is disconnected. */
  #stop({ account, record }: AccountEntry, running: Running | undefined): void {
    running?.stop.abort(new Error('disconnected'))
    if (running !== undefined && running.worker.state.ended !== null && record.desired === 'disconnected')
      this.#running.delete(accountName(account))
  }

  #restart(entry: AccountEntry, running: Running): void {
    running.stop.abort(new Error('a new credential'))
    this.#running.delete(accountName(entry.account))
    this.#start(entry)
  }
}
