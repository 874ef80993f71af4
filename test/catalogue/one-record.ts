/** The record of one account with its revisions, at the port that tokens have: `mail_accounts` in a fleet of one. */
import { Secret } from '#shared/secret.ts'
import { type AccountRef, toSeconds } from '../../services/mail/base/model.ts'
import type { Clock } from '../../services/mail/base/time.ts'
import { type AccountRecord, type Revised, RevisionConflict } from '../../services/mail/kv/account-record.ts'
import { openCredential, sealCredential, type Tokens } from '../../services/mail/token/credential.ts'
import type { Seal } from '../../services/mail/token/seal.ts'
import type { AccountRecords } from '../../services/mail/token/vault.ts'
import type { Credentials } from '../simulator/types.ts'

export class OneRecord implements AccountRecords {
  readonly account: AccountRef
  readonly #seal: Seal
  readonly #clock: Clock
  #now: Revised<AccountRecord>

  constructor(account: AccountRef, seal: Seal, clock: Clock) {
    this.account = account
    this.#seal = seal
    this.#clock = clock
    const nothing = { mailbox: null, address: null, credential: null, revoke: null, reauth: null }
    this.#now = { record: { v: 1, desired: 'connected', ...nothing, updated_at: 0 }, revision: 1 }
  }

  get record(): AccountRecord {
    return this.#now.record
  }

  async read(): Promise<Revised<AccountRecord>> {
    return this.#now
  }

  async write(_account: AccountRef, record: AccountRecord, revision: number | null): Promise<number> {
    if (revision !== this.#now.revision) throw new RevisionConflict('another revision')
    return this.#put(record)
  }

  /** The credential of a sign-in; what the inbox is bound to stays. */
  async connect({ access_token, refresh_token, expires_in }: Credentials): Promise<void> {
    const expiryS = toSeconds(this.#clock.wallMs()) + expires_in
    const tokens = { accessToken: new Secret(access_token), refreshToken: new Secret(refresh_token), expiryS }
    const credential = await sealCredential(this.#seal, this.account, tokens)
    this.#put({ ...this.record, credential, reauth: null, updated_at: toSeconds(this.#clock.wallMs()) })
  }

  /** The credential that stands in the record. */
  tokens(): Promise<Tokens> {
    return openCredential(this.#seal, this.account, this.record.credential ?? '')
  }

  /** False when the inbox is bound to another mailbox. */
  bind(mailbox: string, address: string | null): boolean {
    if ((this.record.mailbox ?? mailbox) !== mailbox) return false
    this.#put({ ...this.record, mailbox, address })
    return true
  }

  markReauth(code: string): void {
    this.#put({ ...this.record, reauth: { code, at: toSeconds(this.#clock.wallMs()) } })
  }

  #put(record: AccountRecord): number {
    this.#now = { record, revision: this.#now.revision + 1 }
    return this.#now.revision
  }
}
