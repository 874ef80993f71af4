/**
 * Access tokens for the workers: cached, refreshed in time, one refresh per account at a time. A new refresh token is on
 * disk before the access token that came with it is used. It never marks an account; the caller acts on what it throws.
 */
import { AppError } from '#shared/errors.ts'
import { lru } from '#shared/lru.ts'
import type { Secret } from '#shared/secret.ts'
import { type AccountRef, accountName, type ProviderName, toSeconds } from '../base/model.ts'
import { ownText } from '../base/own-text.ts'
import type { AccountRecord, Revised } from '../kv/account-record.ts'
import { CoolDown } from './cool-down.ts'
import { openCredential, sameTokens, type Tokens } from './credential.ts'
import { GrantError, type GrantErrorKind } from './grant-error.ts'
import { type GrantClient, refreshGrant } from './refresh.ts'
import { CredentialVault, type Current, type Restorable, type VaultParts } from './vault.ts'

export type TokenParts = VaultParts & {
  /** The OAuth client of each configured provider. */
  clients: Partial<Record<ProviderName, GrantClient>>
  /** Called once per call to a token endpoint. */
  onRefresh?: (provider: ProviderName, outcome: 'ok' | GrantErrorKind) => void
}

export type TokenRequest = {
  /** `force`: refresh even if the token looks good. Default `if-needed`. */
  refresh?: 'if-needed' | 'force'
  /** The token that the provider has refused: refreshed only if it is still the one that holds. */
  rejected?: Secret
}

/** A token is refreshed this long before it ends. */
const EARLY_S = 300
/** Two grants, five compare-and-set rounds and the reads between them, each with a shorter deadline of its own. */
const FLIGHT_DEADLINE_MS = 60_000
const CACHE_ACCOUNTS = 20_000

type Ask = TokenRequest | 'as it is'
type Access = Pick<Tokens, 'accessToken' | 'expiryS'>
type Held = { tokens: Tokens; refreshed: boolean }

export class TokenProvider {
  readonly #parts: TokenParts
  readonly #vault: CredentialVault
  /** Without the refresh token, which whoever needs it reads anew. */
  readonly #cache = lru<Access>(CACHE_ACCOUNTS)
  /** Bounded by the accounts of this instance; an entry lives for the deadlines of one refresh. */
  readonly #flights = new Map<string, Promise<Held>>()
  readonly #coolDown: CoolDown
  /** Of each account the access or refresh token that the provider refused last. */
  readonly #refused = lru<Secret>(CACHE_ACCOUNTS)
  readonly #life = new AbortController()
  /** How often a token was dropped. */
  #drops = 0

  constructor(parts: TokenParts) {
    this.#parts = parts
    this.#vault = new CredentialVault(parts)
    this.#coolDown = new CoolDown(parts.clock)
  }

  /**
   * An access token that is good for some minutes.
   * @throws GrantError (kind `reauth`: mark the account; `config`: alarm; `transient`: later; of the last two also one
   * that holds since an earlier request, see cool-down.ts), NotConnectedError, KeyUnavailableError, SealBrokenError, AppError PROVIDER_NOT_CONFIGURED, or the signal's reason.
   */
  async accessToken(account: AccountRef, request: TokenRequest, signal: AbortSignal): Promise<Secret> {
    const name = accountName(account)
    for (;;) {
      signal.throwIfAborted()
      const cached = this.#cache.get(name)
      if (cached !== undefined && !this.#isStale(cached, request)) return cached.accessToken
      const running = this.#flights.get(name)
      const held = await orAborted(running ?? this.#fly(account, request), signal)
      // A flight of others may have had no reason to refresh where this request has one.
      if (running === undefined || held.refreshed || !this.#isStale(held.tokens, request))
        return held.tokens.accessToken
    }
  }

  /** The access token that is held, if it is good for some minutes; null = ask `openedToken`. */
  heldToken(account: AccountRef): Secret | null {
    const held = this.#cache.get(accountName(account))
    return held === undefined || this.#isStale(held, {}) ? null : held.accessToken
  }

  /**
   * The access token of a record as this instance has seen it, when none is held, and if it is good for some minutes; null = ask
   * `accessToken`. It reads nothing else: for requests whose answer counts only when it says that there is nothing.
   * @throws KeyUnavailableError, SealBrokenError
   */
  async openedToken(account: AccountRef, sealed: string | null): Promise<Secret | null> {
    const name = accountName(account)
    if (sealed === null || this.#cache.has(name)) return null
    const drops = this.#drops
    const tokens = await openCredential(this.#parts.seal, account, sealed)
    if (this.#isStale(tokens, {})) return null
    // What was dropped meanwhile is not put back.
    if (drops === this.#drops && !this.#cache.has(name) && !this.#flights.has(name)) this.#hold(name, tokens)
    return tokens.accessToken
  }

  /** Drops the cached token: the next request reads the record again. */
  invalidate(account: AccountRef): void {
    this.#drops += 1
    this.#cache.delete(accountName(account))
  }

  /** The provider refuses this access token, although it was just refreshed. */
  noteRefused(account: AccountRef, accessToken: Secret): void {
    this.#refused.set(accountName(account), accessToken)
  }

  /** Whether a sealed credential is the one that was refused last, not one that came after it. @throws as `accessToken` */
  async isRefused(account: AccountRef, sealed: string): Promise<boolean> {
    const refused = this.#refused.get(accountName(account))?.reveal()
    const { accessToken, refreshToken } = await openCredential(this.#parts.seal, account, sealed)
    return refused === accessToken.reveal() || refused === refreshToken.reveal()
  }

  /** Whether a sealed credential is the one that this access token is of. @throws as `accessToken` */
  async opens(account: AccountRef, sealed: string, accessToken: Secret): Promise<boolean> {
    return (await openCredential(this.#parts.seal, account, sealed)).accessToken.reveal() === accessToken.reveal()
  }

  /** Deletes everything this instance knows of the credential. */
  forget(account: AccountRef): void {
    this.#dropMemory(account)
    this.#vault.forget(account)
  }

  /** Mirrors a record that was seen at a revision into auth.db; a record that says disconnected deletes the row. */
  async noteRecord(account: AccountRef, record: AccountRecord, revision: number, present?: 'present'): Promise<void> {
    if (record.desired === 'disconnected') this.#dropMemory(account)
    const tokens = await this.#vault.note(account, record, revision, present)
    if (tokens !== null && this.#cache.has(accountName(account))) this.#hold(accountName(account), tokens)
  }

  /**
   * Brings a refreshed credential that KV does not have yet to KV, unless the record has a newer one, which is taken.
   * When KV cannot be reached, the row stays dirty.
   */
  async pushDirty(account: AccountRef, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const running = this.#flights.get(accountName(account))
    if (running !== undefined) await orAborted(Promise.allSettled([running]), signal)
    if (this.#parts.auth.get(account)?.dirty !== true) return
    // Through the same door as a refresh, so that no refresh runs beside it.
    await orAborted(this.#flights.get(accountName(account)) ?? this.#fly(account, 'as it is'), signal)
  }

  /** What restore.ts needs: the rows whose records are gone, what is later, and what became of them. */
  recordsToRestore(revisionOf: (account: AccountRef) => number | null): AsyncGenerator<Restorable> {
    return this.#vault.recordsToRestore(revisionOf)
  }
  isAheadOf(account: AccountRef, theirs: Revised<AccountRecord>): boolean {
    return this.#vault.isAheadOf(account, theirs)
  }
  restored({ account, rowToken, record }: Restorable, revision: number): void {
    this.#vault.restored(account, rowToken, record, revision)
  }

  /** Refreshes that are under way are finished: cut off, they could lose a new refresh token. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#life.abort(new Error('the token provider is closed'))
    await Promise.allSettled(this.#flights.values())
    this.#cache.clear()
  }

  #hold(name: string, { accessToken, expiryS }: Tokens): void {
    this.#cache.set(ownText(name), { accessToken, expiryS })
  }

  #dropMemory(account: AccountRef): void {
    this.invalidate(account)
    this.#coolDown.clear(account)
    this.#refused.delete(accountName(account))
  }

  /** Runs on its own, without the signal of whoever asked first: others wait for the same answer. */
  #fly(account: AccountRef, ask: Ask): Promise<Held> {
    const name = accountName(account)
    this.#life.signal.throwIfAborted()
    const flight = this.#obtain(account, ask)
      .then((held) => {
        this.#hold(name, held.tokens)
        return held
      })
      .catch((error: unknown) => {
        this.#cache.delete(name)
        throw error
      })
      .finally(() => this.#flights.delete(name))
    this.#flights.set(name, flight)
    return flight
  }

  async #obtain(account: AccountRef, ask: Ask): Promise<Held> {
    const signal = AbortSignal.timeout(FLIGHT_DEADLINE_MS)
    const current = await this.#vault.current(account, signal)
    if (ask === 'as it is' || !this.#isStale(current.tokens, ask)) return { tokens: current.tokens, refreshed: false }
    try {
      return await this.#refresh(account, current, signal)
    } catch (error) {
      if (!(error instanceof GrantError) || error.kind !== 'reauth') throw error
      // Somebody else may have used the refresh token first; only an unchanged credential is really refused.
      const theirs = await this.#vault.current(account, signal)
      if (theirs.base === null || sameTokens(theirs.tokens, current.tokens)) throw error
      if (!this.#isStale(theirs.tokens, ask)) return { tokens: theirs.tokens, refreshed: true }
      return await this.#refresh(account, theirs, signal)
    }
  }

  async #refresh(account: AccountRef, current: Current, signal: AbortSignal): Promise<Held> {
    const { clients, clock, onRefresh } = this.#parts
    const client = clients[account.provider]
    if (client === undefined) throw new AppError('PROVIDER_NOT_CONFIGURED', { provider: account.provider })
    const { refreshToken } = current.tokens
    this.#coolDown.check(account, refreshToken)
    try {
      const grant = await refreshGrant(client, refreshToken, signal)
      onRefresh?.(account.provider, 'ok')
      this.#coolDown.clear(account)
      const tokens: Tokens = {
        accessToken: grant.accessToken,
        refreshToken: grant.refreshToken ?? refreshToken,
        expiryS: toSeconds(clock.wallMs()) + grant.expiresInS,
      }
      return { tokens: await this.#vault.save(account, tokens, current.base, signal), refreshed: true }
    } catch (error) {
      if (error instanceof GrantError) {
        onRefresh?.(account.provider, error.kind)
        this.#coolDown.note(account, refreshToken, error)
        if (error.kind === 'reauth') this.#refused.set(accountName(account), refreshToken)
      }
      throw error
    }
  }

  #isStale(tokens: Access, { refresh, rejected }: TokenRequest): boolean {
    if (toSeconds(this.#parts.clock.wallMs()) >= tokens.expiryS - EARLY_S) return true
    if (rejected !== undefined) return rejected.reveal() === tokens.accessToken.reveal()
    return refresh === 'force'
  }
}

/** The promise, or the signal's reason as soon as it aborts; the work behind the promise goes on. */
async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const gone = Promise.withResolvers<never>()
  const onAbort = (): void => gone.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, gone.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
