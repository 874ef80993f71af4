/**
 * The only way of bytes to and from the providers: one undici Agent (a bounded pool per origin), a total deadline per
 * request, answers of bounded size that are read whole, no redirects. It knows no provider, retries nothing, logs nothing.
 */
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import type { Agent, Dispatcher } from 'undici'
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

export type Http = AsyncDisposable & {
  /**
   * Sends one request and reads the whole answer, whatever its status.
   * @throws HttpError, or the reason of the signal.
   */
  fetch(url: URL, request: HttpRequest): Promise<Response>
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
/** Undoes the codings, the last one first. One that was not asked for stays, and nobody will make sense of the body. */
async function decoded(bytes: Buffer, codings: string, maxBytes: number, tooLarge: () => HttpError): Promise<Buffer> {
  let plain = bytes
  for (const coding of codings.split(',').reverse()) {
    if (!/^\s*(?:x-)?gzip\s*$/i.test(coding) || plain.length === 0) continue
    try {
      plain = await unzip(plain, { maxOutputLength: maxBytes })
    } catch (error) {
      throw causeCode(error) === 'ERR_BUFFER_TOO_LARGE' ? tooLarge() : error
    }
  }
  return plain
}

type Came = { status: number; headers: Record<string, string | string[] | undefined>; bytes: Buffer }
type Exchange = { agent: Agent; maxBytes: number; signal: AbortSignal }

/** Not undici's own request: the stream that it makes of each answer is a third of its CPU (ADR 0033). */
function received(url: URL, options: Dispatcher.DispatchOptions, { agent, maxBytes, signal }: Exchange): Promise<Came> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let came: Omit<Came, 'bytes'> = { status: 0, headers: {} }
    let size = 0
    let stop = (): void => undefined
    const settled = (): void => signal.removeEventListener('abort', stop)
    agent.dispatch(options, {
      // Again, when the connection was closed before it could carry the request.
      onRequestStart(controller) {
        settled()
        stop = () => controller.abort(OVER)
        if (signal.aborted) stop()
        else signal.addEventListener('abort', stop, { once: true })
      },
      // What is thrown here cuts the connection and is the error.
      onResponseStart(_controller, status, headers) {
        if (status < 200) return
        if (status >= 300 && status < 400 && status !== 304) throw new HttpError('REDIRECT', url)
        came = { status, headers }
      },
      onResponseData(_controller, chunk) {
        size += chunk.byteLength
        if (size > maxBytes) throw new HttpError('TOO_LARGE', url)
        chunks.push(chunk)
      },
      onResponseEnd() {
        settled()
        resolve({ ...came, bytes: Buffer.concat(chunks, size) })
      },
      onResponseError(_controller, error) {
        settled()
        reject(error)
      },
    })
  })
}

async function exchange(url: URL, request: HttpRequest, way: Exchange): Promise<Response> {
  const { method = 'GET', headers, body = null } = request
  const { origin, pathname, search } = url
  const sent = { origin, path: pathname + search, method: method as Dispatcher.HttpMethod, body }
  const came = await received(url, { ...sent, headers: { ...HEADERS, ...headers } }, way)
  const tooLarge = () => new HttpError('TOO_LARGE', url)
  const codings = String(came.headers['content-encoding'] ?? '')
  const plain = await decoded(came.bytes, codings, way.maxBytes, tooLarge)
  const told = Object.entries(came.headers).flatMap(([name, value]) =>
    [value ?? []].flat().map((one): [string, string] => [name, one]),
  )
  // The platform's own Response: libraries test `instanceof Headers` against the global class.
  return new Response(NO_BODY.has(came.status) ? null : plain, { status: came.status, headers: told })
}

/** A request can be aborted only once it has a connection: whoever waits for one is cut off here. */
async function cutOffBy(signal: AbortSignal, asked: Promise<Response>): Promise<Response> {
  const cut = Promise.withResolvers<never>()
  signal.addEventListener('abort', () => cut.reject(signal.reason), { once: true })
  return await Promise.race([asked, cut.promise])
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
  let closed = false
  let open = 0

  const counted = (asked: Promise<Response>): Promise<Response> => {
    open += 1
    const settled = (): void => {
      open -= 1
    }
    asked.then(settled, settled)
    return asked
  }

  return {
    async fetch(url, request) {
      request.signal.throwIfAborted()
      const stop = new AbortController()
      const onAbort = () => stop.abort(request.signal.reason)
      request.signal.addEventListener('abort', onAbort, { once: true })
      let late = false
      const timer = clock.sleep(deadlineMs, stop.signal).then(
        () => {
          late = true
          stop.abort(OVER)
        },
        () => undefined,
      )
      try {
        if (open >= maxOpen) throw new HttpError('BUSY', url)
        if (closed) throw new HttpError('CLOSED', url)
        made ??= agentOf()
        const agent = made
        const asked = counted(exchange(url, request, { agent, maxBytes, signal: stop.signal }))
        return await cutOffBy(stop.signal, asked)
      } catch (error) {
        request.signal.throwIfAborted()
        if (error instanceof HttpError) throw error
        if (late) throw new HttpError('DEADLINE', url, { cause: error })
        if (closed) throw new HttpError('CLOSED', url, { cause: error })
        throw new HttpError(causeCode(error) === 'UND_ERR_CONNECT_TIMEOUT' ? 'CONNECT' : 'NETWORK', url, {
          cause: error,
        })
      } finally {
        request.signal.removeEventListener('abort', onAbort)
        stop.abort(OVER)
        await timer
      }
    },
    async [Symbol.asyncDispose]() {
      if (closed) return
      closed = true
      await made?.destroy()
    },
  }
}
