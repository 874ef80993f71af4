/**
 * The issuer's public keys: fetched, cached, reloaded in the background. Known keys survive an outage of the issuer.
 * It decides nothing about a token; `shared/jwt.ts` is its only user.
 */
import type { createLocalJWKSet, JWTHeaderParameters } from 'jose'
import { AppError } from './errors.ts'
import { jose } from './jose.ts'

/** The part of a clock that is needed here; `monoMs` for waits, `wallMs` for the times in a token. */
export type TokenClock = { wallMs(): number; monoMs(): number }

const FETCH_DEADLINE_MS = 2_000
const JWKS_MAX_BYTES = 256 * 1024
/** Age from which the use of a known key starts a reload in the background. */
const RELOAD_AGE_MS = 600_000
/**
 * After a fetch that did not bring the key all unknown ones stay unknown for a second: then one more fetch finds what was made
 * meanwhile. After that they stay so for half a minute, whatever comes.
 */
const AGAIN_MS = 1_000
const UNKNOWN_MS = 30_000
/** Pause after a failed fetch: with keys known, and with none. */
const FAILED_MS = 5_000
const FAILED_EMPTY_MS = 1_000

type KeySet = ReturnType<typeof createLocalJWKSet>
type Key = Awaited<ReturnType<KeySet>>

export class IssuerKeys {
  readonly #url: string
  readonly #clock: TokenClock
  #keys: KeySet | undefined
  #text = ''
  #generation = 0
  #fetchedMs = Number.NEGATIVE_INFINITY
  #failure: unknown
  /** No fetch starts before this moment; the gate that a flood of unknown key ids runs into. */
  #notBeforeMs = Number.NEGATIVE_INFINITY
  #fetching: Promise<void> | undefined
  /** Those that did not bring what was asked for, and when the first of two did not. */
  readonly #inVain = new WeakSet<Promise<void>>()
  #firstInVainMs = Number.NEGATIVE_INFINITY

  constructor(url: string, clock: TokenClock) {
    this.#url = url
    this.#clock = clock
  }

  /** Changes when the issuer's keys change; what was verified by an older generation must be verified again. */
  get generation(): number {
    return this.#generation
  }

  /** Starts a reload in the background when the keys are old. Its failure leaves the known keys as they are. */
  refresh(): void {
    if (this.#keys === undefined || this.#clock.monoMs() - this.#fetchedMs < RELOAD_AGE_MS) return
    void this.#fetch()
  }

  /**
   * The key that signed a token.
   * @throws AppError ISSUER_UNREACHABLE when it is not known and the issuer cannot be asked; a jose error when the
   * issuer does not have it.
   */
  async find(header: JWTHeaderParameters, signal?: AbortSignal): Promise<Key> {
    const known = await this.#lookup(header)
    if (known !== undefined) return known
    // A fetch that is under way may have been answered before the key was made: what it does not bring is asked for again.
    const underWay = this.#fetching
    if (underWay !== undefined) {
      await abortable(underWay, signal)
      const found = await this.#lookup(header)
      if (found !== undefined) return found
    }
    const asked = this.#fetch()
    if (asked !== undefined) {
      const found = await abortable(this.#broughtBy(asked, header), signal)
      if (found !== undefined) return found
    }
    if (this.#failure !== undefined) throw this.#unreachable()
    const { errors } = await jose()
    throw new errors.JWKSNoMatchingKey()
  }

  /** Goes on to its end when nobody waits any more: who asks and goes away must not leave the gate open. */
  async #broughtBy(asked: Promise<void>, header: JWTHeaderParameters): Promise<Key | undefined> {
    await asked
    const found = await this.#lookup(header)
    // Only a fetch in vain closes the gate: after a reload, or a key that was found, the next new key is found at once.
    if (found === undefined && this.#failure === undefined) this.#closeGate(asked)
    return found
  }

  async #lookup(header: JWTHeaderParameters): Promise<Key | undefined> {
    const { errors } = await jose()
    try {
      return await this.#keys?.(header)
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) return undefined
      throw error
    }
  }

  /** Two fetches at most in any half minute. @param fetch the one in vain, which many may have waited for */
  #closeGate(fetch: Promise<void>): void {
    if (this.#inVain.has(fetch)) return
    this.#inVain.add(fetch)
    const nowMs = this.#clock.monoMs()
    const isFirst = nowMs - this.#firstInVainMs >= UNKNOWN_MS
    this.#firstInVainMs = isFirst ? nowMs : Number.NEGATIVE_INFINITY
    this.#notBeforeMs = nowMs + (isFirst ? AGAIN_MS : UNKNOWN_MS)
  }

  #unreachable(): AppError {
    const waitMs = Math.max(this.#notBeforeMs - this.#clock.monoMs(), 0)
    const details = { url: this.#url, retry_after_s: Math.max(1, Math.ceil(waitMs / 1000)) }
    return new AppError('ISSUER_UNREACHABLE', details, { cause: this.#failure })
  }

  /** The fetch that is under way, or a new one; undefined while the gate is closed. Never rejects. */
  #fetch(): Promise<void> | undefined {
    if (this.#fetching !== undefined) return this.#fetching
    if (this.#clock.monoMs() < this.#notBeforeMs) return undefined
    this.#fetching = this.#load().finally(() => {
      this.#fetching = undefined
    })
    return this.#fetching
  }

  async #load(): Promise<void> {
    try {
      const { createLocalJWKSet } = await jose()
      const text = await fetchText(this.#url)
      const keys = createLocalJWKSet(JSON.parse(text))
      if (text !== this.#text) this.#generation++
      this.#text = text
      this.#keys = keys
      this.#fetchedMs = this.#clock.monoMs()
      this.#failure = undefined
    } catch (error) {
      this.#failure = error
      this.#notBeforeMs = this.#clock.monoMs() + (this.#keys === undefined ? FAILED_EMPTY_MS : FAILED_MS)
    }
  }
}

async function fetchText(url: string): Promise<string> {
  const response = await fetch(url, {
    headers: { accept: 'application/json' },
    redirect: 'error',
    signal: AbortSignal.timeout(FETCH_DEADLINE_MS),
  })
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel()
    throw new Error(`the issuer answers ${response.status}`)
  }
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.byteLength
    if (bytes > JWKS_MAX_BYTES) throw new Error(`the key set is larger than ${JWKS_MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Waits for a shared promise; the signal ends only this wait. */
function abortable<T>(shared: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return shared
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    shared.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
