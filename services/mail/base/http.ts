/**
 * The only way of bytes to and from the providers: one undici Agent (a bounded pool per origin), a total deadline per
 * request, answers of bounded size that are read whole, no redirects. It knows no provider, retries nothing, logs nothing.
 */
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import { gunzip, gunzipSync } from 'node:zlib'
import type { Agent, Dispatcher } from 'undici'
import { Deadlines } from './deadlines.ts'
import { type Clock, systemClock } from './time.ts'

export type HttpOptions = {
  clock?: Clock
  /** From the call to the last byte of the answer. */
  deadlineMs?: number
  connectMs?: number
  /** Of the decompressed answer. */
  maxBytes?: number
  /** Open connections per origin; further requests wait, within their deadline. */
  connections?: number
  /**
   * Requests without an answer at most, those that were given up while they waited for a connection among them; one more is
   * refused as BUSY.
   */
  maxOpen?: number
}

export type HttpRequest = {
  method?: string
  headers?: Record<string, string>
  body?: string
  signal: AbortSignal
}

/** What there is to read of an answer, the text once; names of headers in lower case. A `Response` is one, too. */
export type Answer = { readonly status: number; readonly headers: Pick<Headers, 'get'>; text(): Promise<string> }

export type Http = AsyncDisposable & {
  /**
   * Sends one request and reads the whole answer, whatever its status.
   * @throws HttpError, or the reason of the signal.
   */
  fetch(url: URL, request: HttpRequest): Promise<Response>
  /** The same for whoever needs no more than this of the answer: making a `Response` costs as much as sending the request. */
  ask(url: URL, request: HttpRequest): Promise<Answer>
}

export type HttpErrorCode = 'DEADLINE' | 'CONNECT' | 'NETWORK' | 'REDIRECT' | 'TOO_LARGE' | 'CLOSED' | 'BUSY'

/** No usable answer came. The message names the host only: a query may carry a secret. */
export class HttpError extends Error {
  override readonly name = 'HttpError'
  readonly code: HttpErrorCode
  constructor(code: HttpErrorCode, url: URL, options: { cause?: unknown } = {}) {
    super(`${url.host}: ${code}`, options)
    this.code = code
  }
}

/** Open at most, per origin. */
export const CONNECTIONS_MAX = 256
const MAX_ORIGINS = 16
/** Google compresses for nobody whose name does not say gzip (developers.google.com/workspace/gmail/api/guides/performance). */
const HEADERS = { 'accept-encoding': 'gzip', 'user-agent': 'mail-sync (gzip)' }
/** Why what belongs to a request ends with it. One for all: an abort without a reason makes an error with a stack. */
const OVER = new Error('the request is over')
const NO_BODY = new Set([101, 204, 205, 304])

const causeCode = (error: unknown): unknown => {
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    if ('code' in at && typeof at.code === 'string') return at.code
  }
  return undefined
}

const require = createRequire(import.meta.url)
/** Loaded with the first request, or by whoever wants to know at start that it is there: its hundred files take 0.1 s (ADR 0037). */
export const loadUndici = (): typeof import('undici') => require('undici')

const unzip = promisify(gunzip)
/** Up to so much is undone here and now: to wait for a thread takes longer, on a busy machine many milliseconds. */
const SMALL = { packed: 16 * 1024, plain: 256 * 1024 } as const
/** null = it is not small. @throws what zlib throws */
function unzipSmall(packed: Buffer, maxBytes: number): Buffer | null {
  if (packed.length > SMALL.packed || maxBytes < SMALL.plain) return null
  try {
    return gunzipSync(packed, { maxOutputLength: SMALL.plain })
  } catch (error) {
    if (causeCode(error) !== 'ERR_BUFFER_TOO_LARGE') throw error
    return null
  }
}

/** Undoes the codings, the last one first. One that was not asked for stays, and nobody will make sense of the body. */
async function decoded(bytes: Buffer, codings: string, maxBytes: number, tooLarge: () => HttpError): Promise<Buffer> {
  let plain = bytes
  for (const coding of codings.split(',').reverse()) {
    if (!/^\s*(?:x-)?gzip\s*$/i.test(coding) || plain.length === 0) continue
    try {
      plain = unzipSmall(plain, maxBytes) ?? (await unzip(plain, { maxOutputLength: maxBytes }))
    } catch (error) {
      throw causeCode(error) === 'ERR_BUFFER_TOO_LARGE' ? tooLarge() : error
    }
  }
  return plain
}

/** Whatever is left of a request that has ended may stay until all of the heap is collected (ADR 0053): not its largest part. */
class Body {
  #bytes: Buffer | null

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  take(): Buffer {
    const bytes = this.#bytes
    if (bytes === null) throw new TypeError('the body of an answer is read once')
    this.#bytes = null
    return bytes
  }
}

type Came = { status: number; headers: Record<string, string | string[] | undefined>; body: Body }
type Way = { agent: Agent; maxBytes: number }
/** `cut` ends it at once with that reason, also while it waits for a connection. */
type Exchange = { came: Promise<Came>; cut(reason: unknown): void }

const codingsOf = ({ headers }: Pick<Came, 'headers'>): string => String(headers['content-encoding'] ?? '')

/**
 * Not undici's own request: the stream that it makes of each answer is a third of its CPU (ADR 0033).
 * @param ended called once nothing of it is under way any more
 */
function exchange(url: URL, request: HttpRequest, { agent, maxBytes }: Way, ended: () => void): Exchange {
  const { method = 'GET', headers, body = null } = request
  const { origin, pathname, search } = url
  const sent = { origin, path: pathname + search, method: method as Dispatcher.HttpMethod, body }
  const { promise, resolve, reject } = Promise.withResolvers<Came>()
  const tooLarge = () => new HttpError('TOO_LARGE', url)
  /** Bound: `maxBytes`. */
  let chunks: Buffer[] = []
  let came: Omit<Came, 'body'> = { status: 0, headers: {} }
  let size = 0
  let isCut = false
  let running: Dispatcher.DispatchController | null = null
  const handler: Dispatcher.DispatchHandler = {
    // Again, when the connection was closed before it could carry the request.
    onRequestStart(controller) {
      running = controller
      if (isCut) controller.abort(OVER)
    },
    // What is thrown here cuts the connection and is the error.
    onResponseStart(_controller, status, headers) {
      if (status < 200) return
      if (status >= 300 && status < 400 && status !== 304) throw new HttpError('REDIRECT', url)
      came = { status, headers }
    },
    onResponseData(_controller, chunk) {
      size += chunk.byteLength
      if (size > maxBytes) throw tooLarge()
      chunks.push(chunk)
    },
    onResponseEnd() {
      ended()
      const bytes = Buffer.concat(chunks, size)
      chunks = []
      const whole = (plain: Buffer): void => resolve({ ...came, body: new Body(plain) })
      if (codingsOf(came) === '') return whole(bytes)
      decoded(bytes, codingsOf(came), maxBytes, tooLarge).then(whole, reject)
    },
    onResponseError(_controller, error) {
      ended()
      chunks = []
      reject(error)
    },
  }
  try {
    agent.dispatch({ ...sent, headers: { ...HEADERS, ...headers } }, handler)
  } catch (error) {
    ended()
    reject(error)
  }
  const cut = (reason: unknown): void => {
    isCut = true
    reject(reason)
    running?.abort(OVER)
  }
  return { came: promise, cut }
}

const decoder = new TextDecoder()

function answerOf({ status, headers, body }: Came): Answer {
  const get = (name: string): string | null => {
    const value = headers[name]
    return value === undefined ? null : Array.isArray(value) ? value.join(', ') : value
  }
  return { status, headers: { get }, text: async () => decoder.decode(body.take()) }
}

function responseOf({ status, headers, body }: Came): Response {
  const told = Object.entries(headers).flatMap(([name, value]) =>
    [value ?? []].flat().map((one): [string, string] => [name, one]),
  )
  // The platform's own Response: libraries test `instanceof Headers` against the global class.
  return new Response(NO_BODY.has(status) ? null : body.take(), { status, headers: told })
}

/** The shared client. Dispose it once nothing sends any more; requests under way then fail as CLOSED. */
export function createHttp(options: HttpOptions = {}): Http {
  const { clock = systemClock, deadlineMs = 30_000, connectMs = 5_000 } = options
  const { maxBytes = 32 * 1024 * 1024, connections = CONNECTIONS_MAX, maxOpen = 16_384 } = options
  let made: Agent | undefined
  const agentOf = (): Agent =>
    new (loadUndici().Agent)({
      connections,
      maxOrigins: MAX_ORIGINS,
      connect: { timeout: connectMs },
      // Where HTTP/2 is possible, all requests would wait for one connection to tell, and time out one after the other.
      allowH2: false,
      headersTimeout: deadlineMs,
      bodyTimeout: deadlineMs,
      keepAliveTimeout: 30_000,
    })
  const deadlines = new Deadlines(deadlineMs, clock)
  let closed = false
  let open = 0
  const ended = (): void => {
    open -= 1
  }

  const send = async (url: URL, request: HttpRequest): Promise<Came> => {
    const { signal } = request
    signal.throwIfAborted()
    if (open >= maxOpen) throw new HttpError('BUSY', url)
    if (closed) throw new HttpError('CLOSED', url)
    made ??= agentOf()
    open += 1
    const { came, cut } = exchange(url, request, { agent: made, maxBytes }, ended)
    const onAbort = (): void => cut(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    const inTime = deadlines.begin(() => cut(new HttpError('DEADLINE', url)))
    try {
      return await came
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof HttpError) throw error
      if (closed) throw new HttpError('CLOSED', url, { cause: error })
      throw new HttpError(causeCode(error) === 'UND_ERR_CONNECT_TIMEOUT' ? 'CONNECT' : 'NETWORK', url, {
        cause: error,
      })
    } finally {
      signal.removeEventListener('abort', onAbort)
      inTime()
    }
  }

  return {
    ask: async (url, request) => answerOf(await send(url, request)),
    fetch: async (url, request) => responseOf(await send(url, request)),
    async [Symbol.asyncDispose]() {
      if (closed) return
      closed = true
      deadlines.close()
      await made?.destroy()
    },
  }
}
