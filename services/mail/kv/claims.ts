/**
 * Which inbox of a user has which mailbox: one record per user and provider in `mail_state`, written by compare-and-set
 * before the account's own record. It serialises what two records cannot: a mailbox that two inboxes ask for at once
 * would stand twice on the user's subject.
 */
import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { stateKey } from '#shared/subjects.ts'
import { type AccountRef, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { RevisionConflict } from './account-record.ts'
import type { Accounts } from './accounts.ts'
import type { Bucket } from './bucket.ts'
import { readRecord } from './parse.ts'

const CAS_ROUNDS = 5
/** A claim is written before its record: for so long a record that does not show it yet proves nothing. */
const PENDING_S = 15

const ClaimsRecord = v.object({
  v: v.literal(1),
  /** By the hash of the mailbox: what is overwritten stays in the files of the server. `at` in epoch seconds. */
  claims: v.record(v.string(), v.object({ inbox: v.string(), at: v.number() })),
})
type Claim = v.InferOutput<typeof ClaimsRecord>['claims'][string]
const parse = readRecord(ClaimsRecord)

/** SHA-256 of user and mailbox, base64url. */
const nameOf = ({ userId }: AccountRef, mailbox: string): string =>
  createHash('sha256')
    .update(JSON.stringify([userId, mailbox]))
    .digest('base64url')
const NAME = /^[\w-]{43}$/

export class Claims {
  readonly #bucket: () => Bucket
  readonly #accounts: Accounts
  readonly #clock: Clock

  constructor(bucket: () => Bucket, accounts: Accounts, clock: Clock) {
    this.#bucket = bucket
    this.#accounts = accounts
    this.#clock = clock
  }

  /**
   * Claims the mailbox for the account's inbox. Answers the inbox that has it: the account's own when the claim holds.
   * @throws RevisionConflict when others kept winning.
   */
  async claim(account: AccountRef, mailbox: string): Promise<string> {
    const key = `${stateKey(account.userId)}.${account.provider}.claims`
    for (let round = 1; ; round++) {
      const found = await this.#bucket().read(key)
      const all = (found === null ? null : parse(found.value))?.claims ?? {}
      // An earlier version has written the mailboxes themselves.
      const claims = Object.fromEntries(Object.entries(all).filter(([name]) => NAME.test(name)))
      const name = nameOf(account, mailbox)
      const held = claims[name]
      if (held !== undefined && held.inbox !== account.inboxId && (await this.#holds(account, mailbox, held)))
        return held.inbox
      const mine = { inbox: account.inboxId, at: toSeconds(this.#clock.wallMs()) }
      try {
        await this.#bucket().write(
          key,
          JSON.stringify({ v: 1, claims: { ...claims, [name]: mine } }),
          found?.revision ?? null,
        )
        return account.inboxId
      } catch (error) {
        if (!(error instanceof RevisionConflict) || round === CAS_ROUNDS) throw error
      }
    }
  }

  async #holds(account: AccountRef, mailbox: string, claim: Claim): Promise<boolean> {
    const found = await this.#accounts.read({ ...account, inboxId: claim.inbox })
    if (found?.record.desired === 'connected' && found.record.mailbox === mailbox) return true
    // A record that was written after the claim, and shows something else, has let it go.
    const after = found === null ? -1 : found.record.updated_at - claim.at
    if (after > 0 || (after === 0 && found?.record.desired === 'disconnected')) return false
    return toSeconds(this.#clock.wallMs()) - claim.at < PENDING_S
  }
}
