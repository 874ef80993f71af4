/**
 * Asks for one operation of the control plane, or one inspection, over NATS and gives its checked reply, or the AppError of the service.
 * It retries nothing and never waits longer than its deadline.
 */
import * as v from 'valibot'
import { CONTRACT, type ConnectReply, type DisconnectReply, REQUEST_MAX_BYTES, type StatusReply } from './contract.ts'
import { ERASE, type EraseReply } from './erase.ts'
import { AppError, errorFromBody } from './errors.ts'
import { INSPECT, type Inspections } from './inspect.ts'
import { headers, type Msg, type NatsConnection, PermissionViolationError } from './nats.ts'
import { decodeJson, isNoResponders, isTimeout } from './nats-answer.ts'
import {
  asSubject,
  atSubject,
  eraseSubject,
  HEADER_AUTHORIZATION,
  HEADER_ERROR_CODE,
  HEADER_REQUEST_ID,
  HEADER_USER,
  type InspectionName,
  type OperationName,
} from './subjects.ts'
import { encodeUser } from './user-token.ts'

export type Replies = { connect: ConnectReply; status: StatusReply; disconnect: DisconnectReply }
type Asked = {
  /** Sent as JSON; bytes are sent as they are. The service checks it. */
  body: unknown
  requestId: string
  /** Default: the deadline of the contract. */
  timeoutMs?: number
  signal?: AbortSignal
}
export type OperationCall = Asked & ({ jwt: string } | { asUser: string })

/**
 * @throws AppError: the service's own, TOO_LARGE, NO_INSTANCE when nobody listens, TIMEOUT when nobody answers in time, INTERNAL
 * when the reply does not fit the contract.
 * @throws PermissionViolationError when this NATS user may not publish the subject.
 */
export async function requestOperation<N extends OperationName>(
  nc: NatsConnection,
  operation: N,
  call: OperationCall,
): Promise<Replies[N]> {
  const contract = CONTRACT[operation]
  const subject = 'asUser' in call ? asSubject(call.asUser, operation) : contract.subject
  const more: Record<string, string> = 'jwt' in call ? { [HEADER_AUTHORIZATION]: `Bearer ${call.jwt}` } : {}
  const reply = await request(nc, subject, { timeoutMs: contract.timeoutMs, ...call, reply: contract.reply, more })
  return reply as Replies[N]
}

export type InspectionCall = Asked & {
  asUser: string
  /** Address of the instance that is to answer; without it whichever is free does. Only instances may ask so. */
  at?: string
}

/** @throws as `requestOperation` does */
export async function requestInspection<N extends InspectionName>(
  nc: NatsConnection,
  name: N,
  call: InspectionCall,
): Promise<Inspections[N]['reply']> {
  const { timeoutMs, reply } = INSPECT[name]
  const subject = call.at === undefined ? asSubject(call.asUser, name) : atSubject(call.at, name)
  const more: Record<string, string> = call.at === undefined ? {} : { [HEADER_USER]: encodeUser(call.asUser) }
  return (await request(nc, subject, { timeoutMs, ...call, reply, more })) as Inspections[N]['reply']
}

/** @throws as `requestOperation` does */
export async function requestErase(nc: NatsConnection, call: Asked & { asUser: string }): Promise<EraseReply> {
  const { timeoutMs, reply } = ERASE
  const subject = eraseSubject(call.asUser)
  return (await request(nc, subject, { timeoutMs, ...call, reply, more: {} })) as EraseReply
}

type Sent = Asked & { timeoutMs: number; reply: v.GenericSchema; more: Record<string, string> }

/** The reply as it came: replies may grow, and an older bridge passes on what it does not know. */
async function request(nc: NatsConnection, subject: string, call: Sent): Promise<unknown> {
  const timeout = call.timeoutMs
  const hdrs = headers()
  hdrs.set(HEADER_REQUEST_ID, call.requestId)
  for (const [name, value] of Object.entries(call.more)) hdrs.set(name, value)
  call.signal?.throwIfAborted()
  const payload = call.body instanceof Uint8Array ? call.body : JSON.stringify(call.body)
  if (Buffer.byteLength(payload) > REQUEST_MAX_BYTES) throw new AppError('TOO_LARGE', { max_bytes: REQUEST_MAX_BYTES })
  const sent = nc.request(subject, payload, { timeout, headers: hdrs })
  const answer = await untilAborted(sent, call.signal).catch((error: unknown) => {
    call.signal?.throwIfAborted()
    throw unanswered(error, timeout)
  })
  const reply = readAnswer(answer)
  if (!v.is(call.reply, reply)) throw new AppError('INTERNAL', { reason: 'the reply does not fit the contract' })
  return reply
}

function unanswered(error: unknown, timeoutMs: number): unknown {
  if (!(error instanceof Error)) return error
  if (isNoResponders(error)) return new AppError('NO_INSTANCE', { nats: 'connected' }, { cause: error })
  if (isTimeout(error)) return new AppError('TIMEOUT', { timeout_ms: timeoutMs }, { cause: error })
  if (error.cause instanceof PermissionViolationError) return error.cause
  if (error instanceof PermissionViolationError) return error
  // Closed, draining or broken connections: nobody was asked.
  return new AppError('NO_INSTANCE', { nats: 'disconnected' }, { cause: error })
}

function readAnswer(answer: Msg): unknown {
  const body = decodeJson(answer.data)
  const code = answer.headers?.get(HEADER_ERROR_CODE)
  if (code === undefined || code === '') return body
  throw errorFromBody(body) ?? new AppError('INTERNAL', { status: Number(code) })
}

function untilAborted<T>(sent: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return sent
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    sent.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
