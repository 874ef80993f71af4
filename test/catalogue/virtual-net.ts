/**
 * Virtual time around real sockets: the clock moves on only when nothing is on its way between the service and the
 * simulator, so that a day passes in the time that its requests take. It counts; it never changes what is sent.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { createHttp, type Http, type HttpOptions } from '../../services/mail/base/http.ts'
// Loaded when first needed, which takes time that the virtual clock does not know.
import 'googleapis'
import { ManualClock } from '../mail/base/manual-clock.ts'
import type { Time } from '../simulator/types.ts'

/** Turns of the event loop without anything on its way after which nothing follows any more. */
const QUIET_TURNS = 3
const STUCK_MS = 20_000

export class VirtualNet {
  readonly clock: ManualClock
  /** What the simulator sleeps by. */
  readonly time: Time
  /** Called at each moment at which everything has come to rest. */
  onRest: () => void = () => undefined
  /** Requests under way, and those of them that go to a token endpoint. */
  #requests = 0
  #grants = 0
  /** Calls for an access token under way. */
  #tokens = 0
  /** Answers that wait for the virtual clock. */
  #waiting = 0
  /** Whoever asks next does so when the request before has reached the simulator: always in the same order. */
  #turn: Promise<unknown> = Promise.resolve()
  #arrived: () => void = () => undefined

  constructor() {
    this.clock = new ManualClock(() => this.#settle())
    this.time = {
      monoMs: () => this.clock.monoMs(),
      sleep: async (ms, signal) => {
        this.#waiting += 1
        try {
          await this.clock.sleep(ms, signal)
        } finally {
          this.#waiting -= 1
        }
      },
    }
  }

  /** The simulator has taken a request. */
  arrived = (): void => this.#arrived()

  /** Counts a call for an access token: sealing needs real time. Many may wait for one refresh. */
  async token<T>(call: Promise<T>): Promise<T> {
    this.#tokens += 1
    try {
      return await call
    } finally {
      this.#tokens -= 1
    }
  }

  /** The service's own way to the providers, counted. */
  connect = (options?: HttpOptions): Http => {
    const http = createHttp(options)
    const counted = async <T>(url: URL, send: () => Promise<T>): Promise<T> => {
      const grant = url.pathname.endsWith('/token') ? 1 : 0
      this.#requests += 1
      this.#grants += grant
      try {
        return await this.#inTurn(send)
      } finally {
        this.#requests -= 1
        this.#grants -= grant
      }
    }
    return {
      ask: (url, request) => counted(url, () => http.ask(url, request)),
      fetch: (url, request) => counted(url, () => http.fetch(url, request)),
      [Symbol.asyncDispose]: () => http[Symbol.asyncDispose](),
    }
  }

  async #inTurn<T>(send: () => Promise<T>): Promise<T> {
    const before = this.#turn
    const arrived = Promise.withResolvers<void>()
    this.#turn = arrived.promise
    await before
    this.#arrived = arrived.resolve
    try {
      return await send()
    } finally {
      arrived.resolve()
    }
  }

  /** Work under way that is no waiting for the virtual clock. */
  get #busy(): number {
    const sealing = this.#tokens > 0 && this.#grants === 0 ? 1 : 0
    return this.#requests + sealing - this.#waiting
  }

  async #settle(): Promise<void> {
    const stuckAt = performance.now() + STUCK_MS
    for (let quiet = 0; quiet < QUIET_TURNS; ) {
      await turn()
      quiet = this.#busy === 0 ? quiet + 1 : 0
      if (performance.now() > stuckAt) throw new Error(`it does not come to rest: ${this.#busy} under way`)
    }
    this.onRest()
  }
}
