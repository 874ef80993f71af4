/**
 * How many rows need which key: the records of `mail_accounts` as this instance sees them, and the rows of its auth.db. A
 * row that holds values of two keys needs both. Only the beginning of a value is looked at, so a count opens nothing.
 */
import { setImmediate as yieldTurn } from 'node:timers/promises'
import { type KeyCounts, UNREADABLE } from '#shared/rekey.ts'
import type { Clock } from '../base/time.ts'
import type { AccountRecord, Revised } from '../kv/account-record.ts'
import type { AuthStore } from '../store/auth-store.ts'
import type { KeyRing } from './keys.ts'
import { headOf, kidOfHead } from './seal.ts'

/** Whoever only watches need not have the disk read each time. */
const RECENT_MS = 15_000

export type KeyCountParts = {
  keys: KeyRing
  auth: Pick<AuthStore, 'heads'>
  records(): Iterable<Revised<AccountRecord>>
  clock: Clock
}
export type Counts = { accounts: KeyCounts; auth_db: KeyCounts }

export class KeyCounter {
  readonly #parts: KeyCountParts
  #recent: { counts: Counts; atMs: number } | null = null

  constructor(parts: KeyCountParts) {
    this.#parts = parts
  }

  async count(): Promise<Counts> {
    const { keys, auth, records, clock } = this.#parts
    const [bucket, mirror] = [new Map<string, number>(), new Map<string, number>()]
    for (const { record } of records()) add(bucket, [record.credential, record.revoke])
    for (const page of auth.heads()) {
      for (const heads of page) add(mirror, heads)
      await yieldTurn()
    }
    const counts = { accounts: byKid(bucket, keys), auth_db: byKid(mirror, keys) }
    this.#recent = { counts, atMs: clock.monoMs() }
    return counts
  }

  /** As they were at most a quarter of a minute ago. */
  async recent(): Promise<Counts> {
    const recent = this.#recent
    return recent !== null && this.#parts.clock.monoMs() - recent.atMs < RECENT_MS ? recent.counts : await this.count()
  }
}

function add(rows: Map<string, number>, values: readonly (string | null)[]): void {
  for (const head of new Set(values.flatMap((value) => (value === null ? [] : [headOf(value)]))))
    rows.set(head, (rows.get(head) ?? 0) + 1)
}

function byKid(rows: ReadonlyMap<string, number>, keys: KeyRing): KeyCounts {
  const counts: KeyCounts = Object.fromEntries(keys.kids.map((kid) => [kid, 0]))
  for (const [head, n] of rows) {
    const kid = kidOfHead(head) ?? UNREADABLE
    counts[kid] = (counts[kid] ?? 0) + n
  }
  return counts
}
