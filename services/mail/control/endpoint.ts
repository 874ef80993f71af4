/**
 * One request of the control plane: decode → authorise → await → reply. Every outcome is answered and counted; no throw
 * escapes, because a rejecting handler would take the process with it.
 */
import * as v from 'valibot'
import { REQUEST_MAX_BYTES } from '#shared/contract.ts'
import { AppError, ERRORS, errorBody, toAppError } from '#shared/errors.ts'
import type { Log } from '#shared/log.ts'
import { isNatsFault, type Msg } from '#shared/nats.ts'
import { parseBody } from '#shared/request-body.ts'
import { HEADER_REQUEST_ID } from '#shared/subjects.ts'
import type { Caller } from '#shared/trail.ts'
import { uuidV7 } from '#shared/uuid.ts'

const LATENCIES_MAX = 512
/** A path may be the caller's own key. */
const PATH_MAX_CHARS = 100
const REQUEST_ID = /^[A-Za-z0-9._:-]{1,64}$/

/** What a service message can do beside being read. */
export type Request = Msg & { respondError(code: number, description: string, data?: Uint8Array | string): boolean }

/** True statistics of one endpoint; the framework's own know no errors of asynchronous handlers. */
export class EndpointStats {
  requests = 0
  errors = 0
  /** Nanoseconds, whole. */
  processingNs = 0
  inFlight = 0
  lastError = ''
  readonly byCode = new Map<string, number>()
  readonly #latenciesMs: number[] = []

  done(ns: number, error: AppError | null): void {
    this.requests += 1
    this.processingNs += ns
    this.#latenciesMs.push(ns / 1e6)
    if (this.#latenciesMs.length > LATENCIES_MAX) this.#latenciesMs.shift()
    if (error === null) return
    this.errors += 1
    this.lastError = `${error.status}:${error.code}`
    this.byCode.set(error.code, (this.byCode.get(error.code) ?? 0) + 1)
  }
  /** Milliseconds over the last 512 requests; null before the first. */
  percentileMs(p: number): number | null {
    const sorted = this.#latenciesMs.toSorted((a, b) => a - b)
    const value = sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))]
    return value === undefined ? null : Math.round(value * 100) / 100
  }
}

/** An operation of the contract, or an inspection. */
export type Asked = { name: string; request: v.GenericSchema }
export type UserSpec = {
  /** Who asks. @throws AppError of the TOKEN_ codes, BAD_USER_ID */
  authorise(msg: Msg): Promise<string>
  /** Null: the payload is not the operation's request (owner status). */
  operation: Asked | null
  by: Caller['by']
  handle(userId: string, request: unknown, caller: Caller): Promise<unknown>
}
/** About no user: the NATS permissions alone say who may ask. Without an operation the payload is not read. */
export type OpenSpec = { operation: Asked | null; handleAny(request: unknown, requestId: string): Promise<unknown> }
export type EndpointSpec = UserSpec | OpenSpec

/** Answers one request. Never rejects. */
export async function answer(msg: Request, spec: EndpointSpec, stats: EndpointStats, log: Log): Promise<void> {
  const started = process.hrtime.bigint()
  let requestId = uuidV7()
  let failure: AppError | null = null
  stats.inFlight += 1
  try {
    // Reading the headers may already be refused.
    requestId = requestIdOf(msg) ?? requestId
    if (msg.data.length > REQUEST_MAX_BYTES) throw new AppError('TOO_LARGE', { max_bytes: REQUEST_MAX_BYTES })
    msg.respond(JSON.stringify(await resultOf(msg, spec, requestId)))
    if (spec.operation !== null && spec.operation.name !== 'status')
      log.info({ operation: spec.operation.name, requestId }, 'request done')
  } catch (error) {
    failure = asAppError(error)
    if (failure.code === 'INTERNAL') log.error({ err: error, requestId }, 'request failed')
    // Without the details: a path may be the caller's own key, and that a token in the wrong place.
    else log.info({ code: failure.code, requestId }, 'request refused')
    reply(msg, failure, requestId, log)
  } finally {
    stats.inFlight -= 1
    stats.done(Number(process.hrtime.bigint() - started), failure)
  }
}

async function resultOf(msg: Request, spec: EndpointSpec, requestId: string): Promise<unknown> {
  const request = (): unknown => (spec.operation === null ? null : decode(msg.data, spec.operation))
  if ('handleAny' in spec) return await spec.handleAny(request(), requestId)
  const userId = await spec.authorise(msg)
  return await spec.handle(userId, request(), { by: spec.by, requestId })
}

function decode(data: Uint8Array, { request }: Asked): unknown {
  // A request in which nothing must stand needs no body.
  const isBare = data.length === 0 && v.is(request, {})
  const result = v.safeParse(request, isBare ? {} : parseBody(data))
  if (result.success) return result.output
  // Paths and expectations only: the messages of the library repeat the values, and these are tokens.
  const issues = result.issues
    .slice(0, 20)
    .map((issue) => ({ path: (v.getDotPath(issue) ?? '').slice(0, PATH_MAX_CHARS), expected: expectedOf(issue) }))
  throw new AppError('BAD_REQUEST', { issues })
}

/** For example `string`, `integer`, `max_value: 31536000`, `regex: ^[a-z0-9_-]{1,32}$`. */
function expectedOf({ type, expected, requirement }: v.BaseIssue<unknown>): string {
  if (expected === 'never') return 'no such field'
  if (expected !== null) return `${type}: ${expected}`
  if (requirement instanceof RegExp) return `${type}: ${requirement.source}`
  return typeof requirement === 'number' || typeof requirement === 'string' ? `${type}: ${requirement}` : type
}

/** What the caller is told. */
export function asAppError(error: unknown): AppError {
  // Nothing of NATS that a repetition would not mend: a link that is down, a cluster that elects a leader.
  if (isNatsFault(error)) return new AppError('TIMEOUT', {}, { cause: error })
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return new AppError('TIMEOUT', {}, { cause: error })
  return toAppError(error)
}

function reply(msg: Request, error: AppError, requestId: string, log: Log): void {
  try {
    msg.respondError(
      error.status,
      `${error.code}: ${ERRORS[error.code].message}`,
      JSON.stringify(errorBody(error, requestId)),
    )
  } catch (failed) {
    log.error({ err: failed, requestId }, 'the answer could not be sent')
  }
}

function requestIdOf(msg: Msg): string | null {
  const given = msg.headers?.get(HEADER_REQUEST_ID) ?? ''
  return REQUEST_ID.test(given) ? given : null
}
