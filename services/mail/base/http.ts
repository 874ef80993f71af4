/**
 * The only way of bytes to and from the providers: one undici Agent (a bounded pool per origin), a total deadline per
 * request, answers of bounded size that are read whole, no redirects. It knows no provider, retries nothing, logs nothing.
 */
import type { Readable } from 'node:stream'
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

export type HttpErrorCode = 'DEADLINE' | 'CONNECT' | 'NETWORK' | 'REDIRECT' | 'TOO_LARGE' | 'CLOSED'

/** No usable answer came. The message names the host only: a query may carry a secret. */
export class HttpError extends Error {
  override readonly name = 'HttpError'
  readonly code: HttpErrorCode
  constructor(code: HttpErrorCode, url: URL, options: { cause?: unknown } = {}) {
    super(`${url.host}: ${code}`, options)
    this.code = code
  }
}

const MAX_ORIGINS = 16
const NO_BODY = new Set([101, 204, 205, 304])

const causeCode = (error: unknown): unknown => {
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    if ('code' in at && typeof at.code === 'string') return at.code
  }
  return undefined
}

function readBounded(body: Readable, maxBytes: number, tooLarge: () => HttpError): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    // By hand: an iterator costs as much as the rest of a small answer.
    body.on('data', (chunk: Buffer) => {
      size += chunk.byteLength
      if (size > maxBytes) body.destroy(tooLarge())
      else chunks.push(chunk)
    })
    body.once('end', () => resolve(Buffer.concat(chunks, size)))
    body.once('error', reject)
  })
}

const unzip = promisify(gunzip)

/** @throws HttpError TOO_LARGE; the fault of zlib when it is no gzip */
async function unzipBounded(bytes: Buffer, maxBytes: number, tooLarge: () => HttpError): Promise<Buffer> {
  try {
    return await unzip(bytes, { maxOutputLength: maxBytes })
  } catch (error) {
    throw causeCode(error) === 'ERR_BUFFER_TOO_LARGE' ? tooLarge() : error
  }
}

/** Google packs answers only for programs that say both. */
const PACKED = { 'accept-encoding': 'gzip', 'user-agent': 'mail-sync (gzip)' }

type Exchange = { agent: Agent; maxBytes: number; signal: AbortSignal }

/** Not by `fetch`, whose streams and classes cost more than all that the service does with a poll. */
async function exchange(url: URL, request: HttpRequest, { agent, maxBytes, signal }: Exchange): Promise<Response> {
  const { method = 'GET', headers = {}, body = null } = request
  const answer = await agent.request({
    origin: url.origin,
    path: `${url.pathname}${url.search}`,
    method,
    headers: { ...PACKED, ...headers },
    body,
    signal,
  })
  const { statusCode: status } = answer
  if (status >= 300 && status < 400 && status !== 304) {
    await answer.body.dump()
    throw new HttpError('REDIRECT', url)
  }
  const tooLarge = (): HttpError => new HttpError('TOO_LARGE', url)
  const sent = await readBounded(answer.body, maxBytes, tooLarge)
  const isPacked = answer.headers['content-encoding'] === 'gzip' && sent.byteLength > 0
  const bytes = isPacked ? await unzipBounded(sent, maxBytes, tooLarge) : sent
  // The platform's own Response: libraries test `instanceof Headers` against the global class.
  return new Response(NO_BODY.has(status) ? null : bytes, { status, headers: pairsOf(answer.headers) })
}

const pairsOf = (headers: Record<string, string | string[] | undefined>): [string, string][] =>
  Object.entries(headers).flatMap(([name, value = []]) => [value].flat().map((one): [string, string] => [name, one]))

/** The shared client. Dispose it once nothing sends any more; requests under way then fail as CLOSED. */
export function createHttp(options: HttpOptions = {}): Http {
  const { clock = systemClock, deadlineMs = 30_000, connectMs = 5_000 } = options
  const { maxBytes = 32 * 1024 * 1024, connections = 256 } = options
  const agent = new Agent({
    connections,
    maxOrigins: MAX_ORIGINS,
    connect: { timeout: connectMs },
    headersTimeout: deadlineMs,
    bodyTimeout: deadlineMs,
    keepAliveTimeout: 30_000,
  })
  let closed = false

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
          stop.abort()
        },
        () => undefined,
      )
      try {
        return await exchange(url, request, { agent, maxBytes, signal: stop.signal })
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
        stop.abort()
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
