/**
 * The listening socket of the bridge: deadlines against slow clients, and a stop that answers what is in flight.
 * It knows no route.
 */
import { createServer, type Server, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { getRequestListener, RequestError } from '@hono/node-server'
import { CONTRACT } from '#shared/contract.ts'
import { toAppError } from '#shared/errors.ts'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import { uuidV7 } from '#shared/uuid.ts'
import {
  badExpectation,
  badHost,
  type EarlyAnswer,
  failed,
  HEADERS_MAX_BYTES,
  REQUEST_MAX_MS,
  unreadable,
} from './early.ts'

const LIMITS = {
  headersTimeout: 5_000,
  /** Headers and body together. */
  requestTimeout: REQUEST_MAX_MS,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: HEADERS_MAX_BYTES,
  // Node would answer without a body; the listener refuses it as well.
  requireHostHeader: false,
}
/** The longest operation is answered, one way or the other, before this has passed. */
const DRAIN_DEADLINE_MS = Math.max(...Object.values(CONTRACT).map((operation) => operation.timeoutMs)) + 1_000

export type HttpServer = {
  url: string
  /** Takes no new connection, answers what is in flight, then resolves; cuts what is left at the deadline. */
  close(): Promise<void>
}

/** @throws ExitError 78 when the address cannot be bound. */
export async function listen(
  fetch: (request: Request) => Response | Promise<Response>,
  at: { host: string; port: number; connectionsMax: number },
  log: Log,
): Promise<HttpServer> {
  const errorHandler = (error: unknown): Response => refuse(error, log)
  const server = createServer(LIMITS, getRequestListener(fetch, { overrideGlobalObjects: false, errorHandler }))
  server.maxConnections = at.connectionsMax
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => answerOnSocket(error.code, socket))
  server.on('checkExpectation', (_request, response) => {
    const { status, headers, body } = badExpectation()
    response.writeHead(status, headers).end(body)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new ExitError(EXIT_CONFIG, `cannot listen on ${at.host}:${at.port}: set HTTP_HOST and HTTP_PORT`, { cause }),
      ),
    )
    server.listen(at.port, at.host, resolve)
  })
  return { url: urlOf(server), close: () => close(server) }
}

/** What no route has seen: an address that is none, or a fault of ours around the routes. */
function refuse(thrown: unknown, log: Log): Response {
  if (thrown instanceof RequestError) return responseOf(badHost())
  const error = toAppError(thrown)
  const requestId = uuidV7()
  log.error({ err: error, code: error.code, request_id: requestId }, 'refused')
  return responseOf(failed(error, requestId))
}

const responseOf = ({ status, headers, body }: EarlyAnswer): Response => new Response(body, { status, headers })

/** Nothing more is read from a peer that cannot be understood. */
function answerOnSocket(code: string | undefined, socket: Duplex): void {
  if (socket.writable && code !== 'ECONNRESET') {
    const { status, headers, body } = unreadable(code)
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n${body}`)
  }
  socket.destroy()
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const done = new AbortController()
  const deadline = sleep(DRAIN_DEADLINE_MS, 'late', { signal: done.signal }).catch(() => 'done')
  if ((await Promise.race([closed, deadline])) === 'late') server.closeAllConnections()
  await closed
  done.abort()
}

function urlOf(server: Server): string {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address
  return `http://${host}:${address.port}`
}
