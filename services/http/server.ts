/**
 * The listening socket of the bridge: deadlines against slow clients, and a stop that answers what is in flight.
 * It knows no route.
 */
import { createServer, type Server } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { getRequestListener } from '@hono/node-server'
import { CONTRACT } from '#shared/contract.ts'
import { EXIT_CONFIG, ExitError } from '#shared/lifecycle.ts'

const LIMITS = {
  headersTimeout: 5_000,
  /** Headers and body together. */
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 16 * 1024,
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
  at: { host: string; port: number },
): Promise<HttpServer> {
  const server = createServer(LIMITS, getRequestListener(fetch, { overrideGlobalObjects: false }))
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
