/**
 * The only way of bytes to and from the providers: one undici Agent (a bounded pool per origin), a total deadline per
 * request, answers of bounded size that are read whole, no redirects. It knows no provider, retries nothing, logs nothing.
 */
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { Agent } from 'undici'
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
const OVER: unknown = new Error('the request is over')
const NO_BODY = new Set([101, 204, 205, 304])

const causeCode = (error: unknown): unknown => {
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    if ('code' in at && typeof at.code === 'string') return at.code
  }
  return undefined
}

async function readBounded(body: AsyncIterable<Uint8Array>, maxBytes: number, tooLarge: () => HttpError) {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.byteLength
    if (size > maxBytes) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}

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

type Exchange = { agent: Agent; maxBytes: number; signal: AbortSignal }

async function exchange(url: URL, request: HttpRequest, { agent, maxBytes, signal }: Exchange): Promise<Response> {
  const { method = 'GET', headers, body = null } = request
  const { origin, pathname, search } = url
  const tooLarge = () => new HttpError('TOO_LARGE', url)
  // Not undici's fetch: it costs twice the CPU (ADR 0033).
  const sent = { origin, path: pathname + search, method, headers: { ...HEADERS, ...headers }, body, signal }
  const answer = await agent.request(sent)
  const { statusCode: status } = answer
  // Whatever follows is cut off by the signal, which always aborts in the end.
  if (status >= 300 && status < 400 && status !== 304) throw new HttpError('REDIRECT', url)
  const came = new Headers(
    Object.entries(answer.headers).flatMap(([name, value]) => [value ?? []].flat().map((one) => [name, one])),
  )
  const bytes = await readBounded(answer.body, maxBytes, tooLarge)
  const plain = await decoded(bytes, came.get('content-encoding') ?? '', maxBytes, tooLarge)
  // The platform's own Response: libraries test `instanceof Headers` against the global class.
  return new Response(NO_BODY.has(status) ? null : plain, { status, headers: came })
}

/** undici listens to the signal only once a request has a connection: whoever waits for one is cut off here. */
async function cutOffBy(signal: AbortSignal, asked: Promise<Response>): Promise<Response> {
  const cut = Promise.withResolvers<never>()
  signal.addEventListener('abort', () => cut.reject(signal.reason), { once: true })
  return await Promise.race([asked, cut.promise])
}

/** The shared client. Dispose it once nothing sends any more; requests under way then fail as CLOSED. */
export function createHttp(options: HttpOptions = {}): Http {
  const { clock = systemClock, deadlineMs = 30_000, connectMs = 5_000 } = options
  const { maxBytes = 32 * 1024 * 1024, connections = CONNECTIONS_MAX, maxOpen = 16_384 } = options
  const agent = new Agent({
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
      await agent.destroy()
    },
  }
}
