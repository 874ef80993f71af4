/**
 * The only way of bytes to and from the providers: one undici Agent (a bounded pool per origin), a total deadline per
 * request, answers of bounded size that are read whole, no redirects. It knows no provider, retries nothing, logs nothing.
 */
import { Agent, fetch as undiciFetch } from 'undici'
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

async function readBounded(body: AsyncIterable<Uint8Array> | null, maxBytes: number, tooLarge: () => HttpError) {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body ?? []) {
    size += chunk.byteLength
    if (size > maxBytes) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}

type Exchange = { agent: Agent; maxBytes: number; signal: AbortSignal }

async function exchange(url: URL, request: HttpRequest, { agent, maxBytes, signal }: Exchange): Promise<Response> {
  const { method = 'GET', headers = {}, body } = request
  const answer = await undiciFetch(url, {
    method,
    headers,
    ...(body !== undefined && { body }),
    signal,
    redirect: 'manual',
    dispatcher: agent,
  })
  if (answer.status >= 300 && answer.status < 400 && answer.status !== 304) {
    await answer.body?.cancel()
    throw new HttpError('REDIRECT', url)
  }
  const bytes = await readBounded(answer.body, maxBytes, () => new HttpError('TOO_LARGE', url))
  // The platform's own Response: libraries test `instanceof Headers` against the global class.
  return new Response(NO_BODY.has(answer.status) ? null : bytes, {
    status: answer.status,
    headers: [...answer.headers],
  })
}

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
