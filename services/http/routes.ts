/**
 * The routes of the bridge as one hono app. HTTP in, one NATS request, its answer out; errors as `shared/errors.ts`.
 * It checks the user's token and the form of the body; what the body means is the service's to say.
 */
import { type Context, Hono } from 'hono'
import { methodNotAllowed } from 'hono/method-not-allowed'
import { type RequestIdVariables, requestId } from 'hono/request-id'
import { secureHeaders } from 'hono/secure-headers'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { CONTRACT } from '#shared/contract.ts'
import { AppError, type ErrorCode, errorBody, toAppError } from '#shared/errors.ts'
import type { JwtVerifier } from '#shared/jwt.ts'
import type { Log } from '#shared/log.ts'
import { OPERATIONS, type OperationName } from '#shared/subjects.ts'
import { uuidV7 } from '#shared/uuid.ts'
import { readJson } from './body.ts'
import { createRefusals, type Refusals } from './refusals.ts'

const ROUTES = new Set([
  '/healthz',
  '/readyz',
  '/metrics',
  '/openapi.json',
  ...OPERATIONS.map((name) => CONTRACT[name].http.path),
])

export type HttpPorts = {
  verifier: JwtVerifier
  /** Forwards one operation. @throws AppError */
  forward(operation: OperationName, call: ForwardCall): Promise<unknown>
  /** @throws AppError NO_INSTANCE */
  ready(): Promise<void>
  metrics(): Promise<string>
  openApi: unknown
  /** Requests that may wait for NATS at the same time, for example those that came on one connection at once. */
  concurrent: number
  answered(request: { method: string; route: string; status: number; code: string | null; seconds: number }): void
  /** True while the bridge stops: connections are not kept open any more. */
  stopping(): boolean
  log: Log
}
export type ForwardCall = { body: unknown; jwt: string; requestId: string; signal: AbortSignal }
type Bindings = { Variables: RequestIdVariables & { errorCode?: ErrorCode } }
type Ctx = Context<Bindings>

export function createRoutes(ports: HttpPorts): Hono<Bindings> {
  const app = new Hono<Bindings>()
  const bounded = boundOf(ports.concurrent)
  const refusals = createRefusals(ports.log)
  app.use(requestId({ limitLength: 64, generator: () => uuidV7() }))
  app.use(async (c, next) => {
    const start = performance.now()
    await next()
    if (ports.stopping()) c.header('connection', 'close')
    c.header('cache-control', 'no-store')
    const route = ROUTES.has(c.req.path) ? c.req.path : 'other'
    const seconds = (performance.now() - start) / 1000
    ports.answered({ method: c.req.method, route, status: c.res.status, code: c.get('errorCode') ?? null, seconds })
  })
  app.use(secureHeaders({ contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } }))
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) => {
        c.header('allow', methods.join(', '))
        return answerError(c, new AppError('METHOD_NOT_ALLOWED', { allow: methods }), refusals)
      },
    }),
  )
  app.notFound((c) => answerError(c, new AppError('NOT_FOUND'), refusals))
  app.onError((error, c) => answerError(c, toAppError(error), refusals))

  app.get('/healthz', (c) => c.json({ status: 'ok' }))
  app.get('/readyz', async (c) => {
    if (ports.stopping()) throw new AppError('NO_INSTANCE', { bridge: 'stopping' })
    await bounded(() => ports.ready())
    return c.json({ status: 'ready' })
  })
  app.get('/metrics', async (c) => c.text(await ports.metrics(), 200, { 'content-type': 'text/plain; version=0.0.4' }))
  app.get('/openapi.json', (c) => c.json(ports.openApi))
  for (const name of OPERATIONS) addOperation(app, ports, name, bounded)
  return app
}

type Bounded = <T>(work: () => Promise<T>) => Promise<T>

/** @throws AppError RATE_LIMITED while `max` are running */
function boundOf(max: number): Bounded {
  let running = 0
  return async (work) => {
    if (running >= max) throw new AppError('RATE_LIMITED', { busy: true, retry_after_s: 1 })
    running += 1
    try {
      return await work()
    } finally {
      running -= 1
    }
  }
}

function addOperation(app: Hono<Bindings>, ports: HttpPorts, name: OperationName, bounded: Bounded): void {
  const { http } = CONTRACT[name]
  const forward = async (c: Ctx, read: () => Promise<unknown> | unknown): Promise<Response> => {
    const { signal } = c.req.raw
    const authorization = c.req.header('authorization')
    await ports.verifier.verify(authorization, signal)
    const jwt = (authorization ?? '').slice('bearer '.length).trim()
    const body = await read()
    const reply = await ports.forward(name, { body, jwt, requestId: c.get('requestId'), signal })
    return c.json(reply as Record<string, unknown>)
  }
  // A query takes the place of a body: unknown keys are refused there as well.
  const read = (c: Ctx): unknown => (http.method === 'GET' ? c.req.query() : readJson(c.req.raw))
  app.on(http.method, http.path, (c) => bounded(() => forward(c, () => read(c))).catch(rethrow))
}

/** When a client goes away its signal carries a text, and hono handles only errors. */
function rethrow(thrown: unknown): never {
  throw toAppError(thrown)
}

function answerError(c: Ctx, error: AppError, refusals: Refusals): Response {
  // Who asked is gone: there is nobody to answer and nothing that failed.
  if (c.req.raw.signal.aborted) return new Response(null, { status: 499 })
  const id = c.get('requestId')
  c.set('errorCode', error.code)
  refusals.tell(error, id)
  // The rest of the body stays unread, so the connection can carry no other request: the client must not try.
  if (error.code === 'TOO_LARGE') c.header('connection', 'close')
  if (error.status === 401) c.header('www-authenticate', `Bearer error="${error.code}"`)
  const retryAfter = error.details.retry_after_s
  if (typeof retryAfter === 'number') c.header('retry-after', String(Math.ceil(retryAfter)))
  return c.json(errorBody(error, id), error.status as ContentfulStatusCode)
}
