/**
 * Brings outbox rows onto the stream: one loop per user, a bounded number of them at work at the same time.
 * The table is the truth, `wake` only a hint. It owns no lease and fetches no mail.
 */
import type { AccountRef, Epoch } from '../base/model.ts'
import type { SubjectPage } from '../store/audits.ts'
import { auditSubject } from './audit-subject.ts'
import type { RelayDeps } from './deps.ts'
import { reconcile } from './reconcile.ts'
import { RelayRun } from './relay-run.ts'
import { Turns } from './turns.ts'

export type { RelayDeps } from './deps.ts'
export type { RelayRun } from './relay-run.ts'

/** Users whose rows are published at the same time; each has one publish in flight. */
const PARALLEL_USERS = 64

export class Relay {
  readonly #deps: RelayDeps
  /** Bound: the users that are owned. Each has one run, which waits for one turn at a time. */
  readonly #turns = new Turns(PARALLEL_USERS)
  readonly #runs = new Set<RelayRun>()
  #doubts = 0

  constructor(deps: RelayDeps) {
    this.#deps = deps
  }

  /**
   * Publishes the user's rows until the signal aborts; the publish in flight is then finished and marked.
   * The user's database has been adopted by `epoch`.
   * @param owns asked before each publish; false pauses.
   * @param last what `readBack` has just answered; null = it is read back before the first publish
   */
  start(userId: string, epoch: Epoch, owns: () => boolean, signal: AbortSignal, last: number | null = null): RelayRun {
    const run = new RelayRun({ userId, epoch, owns, signal, last, turns: this.#turns, deps: this.#deps })
    this.#runs.add(run)
    const forget = (): void => void this.#runs.delete(run)
    run.done.then(forget, forget)
    return run
  }

  /**
   * T6 of a take-over: what the stream holds of the user goes into the ledger before anything is fetched.
   * @returns the sequence of the newest message on the subject; null when nothing was read
   * @throws as `reconcile` does
   */
  async readBack(userId: string, epoch: Epoch, signal: AbortSignal): Promise<number | null> {
    const { config, controls, hooks } = this.#deps
    if (controls?.readBack === false) return null
    const result = await reconcile(userId, epoch, { ...this.#deps, ...config }, signal)
    hooks?.onReconciled?.(userId, result)
    return result.last
  }

  /**
   * One page of the audit of an account: what the stream holds of the user against the ledger.
   * @throws as `auditSubject` does
   */
  async audit(account: AccountRef, cursor: string | null, signal: AbortSignal): Promise<SubjectPage> {
    return await auditSubject(account, cursor, this.#deps, signal)
  }

  /** How often the stream may have become another one: who rests has no run, and looks for itself when this has grown. */
  get doubts(): number {
    return this.#doubts
  }

  /** Lets every user compare the stream with what is stored before the next publish; to be called at each reconnect. */
  recheck(): void {
    this.#doubts += 1
    for (const run of this.#runs) run.recheck()
  }
}
