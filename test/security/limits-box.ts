/** What the tests of limits stand on: the endpoints on a real server, the bridge's routes, clients that are slow or ask much. */
import { once } from 'node:events'
import { connect } from 'node:net'
import type { TestContext } from 'node:test'
import { AppError } from '#shared/errors.ts'
import { createJwtVerifier } from '#shared/jwt.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { createRoutes } from '../../services/http/routes.ts'
import { listen } from '../../services/http/server.ts'
import { ControlService, type ServiceOptions } from '../../services/mail/control/service.ts'
import { ManualClock } from '../mail/base/manual-clock.ts'
import { createSigner, startIssuer } from '../shared/issuer.ts'
import { startNatsServer } from '../support/nats-server.ts'

export const log = createLog('test', 'silent')

export type Refusal = { code: string; details: Record<string, unknown> } | null

/** What `ask` was refused with; null when it was answered. */
export const refusalOf = async (ask: () => unknown): Promise<Refusal> => {
  try {
    await ask()
    return null
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    return { code: error.code, details: error.details }
  }
}
export type Service = {
  nc: NatsConnection
  clock: ManualClock
  jwt(sub: string): Promise<string>
  release(): void
  asked: number
}

/** The endpoints on a real server; a status waits until it is released. */
export async function service(t: TestContext, limits: ServiceOptions['limits'], waits = false): Promise<Service> {
  const server = await startNatsServer({ conf: 'open' })
  t.after(() => server[Symbol.asyncDispose]())
  const nc = await connectNats(
    { url: server.url, name: 'test', inboxPrefix: '_INBOX' },
    log,
    AbortSignal.timeout(10_000),
  )
  t.after(() => drainNats(nc, log))
  const signer = await createSigner('key-1')
  const issuer = await startIssuer([signer.jwk])
  t.after(() => issuer[Symbol.asyncDispose]())
  const gate = Promise.withResolvers<void>()
  if (!waits) gate.resolve()
  const own: Service = {
    nc,
    clock: new ManualClock(),
    jwt: (sub) => signer.sign({ iss: issuer.url, aud: issuer.url, sub, exp: Math.floor(Date.now() / 1000) + 600 }),
    release: gate.resolve,
    asked: 0,
  }
  const status = async (userId: string) => {
    own.asked++
    await gate.promise
    return { user_id: userId, running_syncs: [], accounts: [] }
  }
  const control = await ControlService.start({
    nc,
    jwt: createJwtVerifier({ jwksUrl: issuer.jwksUrl, issuer: issuer.url, audience: issuer.url }),
    handlers: {
      connect: async (user_id, { provider }) => ({ message: 'mail sync started', provider, user_id }),
      status,
      disconnect: async () => ({ message: 'mail sync stopped' }),
      ownerStatus: status,
      fleet: async () => Promise.reject(new AppError('NO_INSTANCE')),
      rekey: async () => Promise.reject(new AppError('NO_INSTANCE')),
      erase: async () => Promise.reject(new AppError('NO_INSTANCE')),
      inspect: status,
      ownerInspect: status,
    },
    log,
    version: '0.0.1',
    instance: 'a',
    address: 'here',
    metadata: {},
    trusted: true,
    limits,
    clock: own.clock,
    metrics: async () => ({}),
  })
  t.after(() => control[Symbol.asyncDispose]())
  return own
}

/** A client that sends a byte of a header now and then. */
export type Loris = {
  /** The first line that it is told, when the connection is closed. */
  closed: Promise<string>
  /** Sends the rest at last. */
  finish(): void
}

export function loris(port: number): Loris {
  const socket = connect(port, '127.0.0.1')
  let told = ''
  socket.on('error', () => undefined)
  socket.on('data', (bytes) => {
    told += bytes.toString()
  })
  socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Slow: ')
  const drip = setInterval(() => socket.write('a'), 100)
  // It may be cut off, which is no error here.
  const end = new Promise((resolve) => socket.on('close', resolve))
  return {
    closed: end.then(() => {
      clearInterval(drip)
      return told.slice(0, told.indexOf('\r\n'))
    }),
    finish() {
      clearInterval(drip)
      socket.write('\r\n\r\n')
    },
  }
}

type Bridge = AsyncDisposable & { url: string; waiting: number; release(): void }

/** The bridge's routes on a socket; a request waits in place of NATS until it is released. */
export async function gatedBridge(concurrent: number): Promise<Bridge> {
  const gate = Promise.withResolvers<void>()
  const routes = createRoutes({
    verifier: { verify: async () => ({ userId: 'ada', expiresAt: 0 }) },
    async forward() {
      own.waiting++
      await gate.promise
      return {}
    },
    ready: async () => undefined,
    metrics: async () => '',
    openApi: {},
    concurrent,
    answered: () => undefined,
    stopping: () => false,
    log,
  })
  const server = await listen(routes.fetch, { host: '127.0.0.1', port: 0, connectionsMax: 10 }, log)
  const own: Bridge = {
    url: server.url,
    waiting: 0,
    release: gate.resolve,
    [Symbol.asyncDispose]: () => server.close(),
  }
  return own
}

/** Sends all at once on one connection; resolves with the status of each answer. */
export async function pipelined(url: string, requests: string[], onSent: () => Promise<void>): Promise<number[]> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  let told = ''
  socket.on('data', (bytes) => {
    told += bytes.toString()
  })
  socket.write(requests.join(''))
  await onSent()
  await once(socket, 'end')
  return [...told.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
}
