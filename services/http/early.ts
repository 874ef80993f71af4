/**
 * What is refused before it is a request: bytes that are no HTTP, headers that are too large or too slow, a bad Host.
 * It has the body of every other error; the status is the one that HTTP itself has for it.
 */
import { AppError, errorBody } from '#shared/errors.ts'
import { uuidV7 } from '#shared/uuid.ts'

export const HEADERS_MAX_BYTES = 16 * 1024
export const REQUEST_MAX_MS = 10_000

export type EarlyAnswer = { status: number; headers: Record<string, string>; body: string }

export const badHost = (): EarlyAnswer => answerOf(400, notAsExpected('Host', 'host name, and a path that fits it'))
export const badExpectation = (): EarlyAnswer => answerOf(417, notAsExpected('Expect', '100-continue'))
export const failed = (error: AppError, requestId: string): EarlyAnswer => answerOf(error.status, error, requestId)

/** @param code of Node's clientError */
export function unreadable(code: string | undefined): EarlyAnswer {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return answerOf(408, new AppError('TIMEOUT', { request_max_ms: REQUEST_MAX_MS }))
    case 'HPE_HEADER_OVERFLOW':
      return answerOf(431, new AppError('TOO_LARGE', { headers_max_bytes: HEADERS_MAX_BYTES }))
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return answerOf(413, new AppError('TOO_LARGE', { chunk_extensions_max_bytes: HEADERS_MAX_BYTES }))
    default:
      return answerOf(400, notAsExpected('', 'HTTP/1.1'))
  }
}

const notAsExpected = (path: string, expected: string): AppError =>
  new AppError('BAD_REQUEST', { issues: [{ path, expected }] })

function answerOf(status: number, error: AppError, id = uuidV7()): EarlyAnswer {
  const body = JSON.stringify(errorBody(error, id))
  const headers = {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    'cache-control': 'no-store',
    'x-request-id': id,
    connection: 'close',
  }
  return { status, headers, body }
}
