/**
 * A stand-in for the service: a real NATS micro service that obeys the contract (subjects, token, schemas, errors,
 * statistics) and keeps accounts in memory. For tests of the bridge and of mailctl; it syncs nothing.
 */
import { type ServiceMsg, Svcm } from '@nats-io/services'
import * as v from 'valibot'
import { CONTRACT, type ConnectRequest, type DisconnectRequest, type StatusReply } from '#shared/contract.ts'
import { AppError, errorBody, toAppError } from '#shared/errors.ts'
import type { JwtVerifier } from '#shared/jwt.ts'
import type { NatsConnection } from '#shared/nats.ts'
import {
  GROUP,
  HEADER_AUTHORIZATION,
  HEADER_REQUEST_ID,
  OPERATIONS,
  type OperationName,
  QUEUE,
  SERVICE_NAME,
  userOfAsSubject,
} from '#shared/subjects.ts'

export type StandIn = {
  /** Every request that passed all checks. */
  seen: { operation: OperationName; userId: string; body: unknown; requestId: string }[]
  /** Runs before an answer: throw an AppError, or wait. */
  before: (operation: OperationName, userId: string) => Promise<void> | void
  stop(): Promise<void>
}

const EMPTY = { progress: { done: 0, total_estimate: null, percent: null, rate_per_s: null, eta_s: null } }

export async function startStandIn(nc: NatsConnection, verifier: JwtVerifier | null, asUsers = true): Promise<StandIn> {
  const accounts = new Map<string, StatusReply['accounts']>()
  const errors: Record<string, number> = {}
  const standIn: StandIn = { seen: [], before: () => undefined, stop: async () => void (await service.stop()) }
  const service = await new Svcm(nc).add({
    name: SERVICE_NAME,
    version: '0.1.0',
    description: 'stand-in',
    queue: QUEUE,
    metadata: { instance: 'stand-in-1', as: asUsers ? 'open' : 'closed' },
    statsHandler: async (endpoint) => ({
      instance: 'stand-in-1',
      in_flight: 0,
      errors,
      p50_ms: 1,
      p95_ms: 2,
      ...('name' in endpoint && endpoint.name === 'status'
        ? { metrics: { 'mailsync_accounts{state="live"}': 3, mailsync_outbox_depth: 7, 'evil 1\nname': 1 } }
        : {}),
    }),
  })

  const answer = async (operation: OperationName, message: ServiceMsg): Promise<unknown> => {
    const userId = message.subject.startsWith(`${GROUP}.as.`)
      ? userOfAsSubject(message.subject)
      : (await verifierOf(verifier).verify(message.headers?.get(HEADER_AUTHORIZATION))).userId
    const body = v.safeParse(CONTRACT[operation].request, message.json())
    if (!body.success)
      throw new AppError('BAD_REQUEST', { issues: body.issues.map((issue) => ({ path: v.getDotPath(issue) })) })
    const requestId = message.headers?.get(HEADER_REQUEST_ID) ?? ''
    standIn.seen.push({ operation, userId, body: body.output, requestId })
    await standIn.before(operation, userId)
    if (operation === 'connect') return connect(userId, body.output as ConnectRequest)
    if (operation === 'disconnect') return disconnect(userId, body.output as DisconnectRequest)
    const mine = accounts.get(userId) ?? []
    return { user_id: userId, running_syncs: mine.map((a) => `${userId}:${a.inbox_id}:GOOGLE`), accounts: mine }
  }
  const connect = (userId: string, request: ConnectRequest): unknown => {
    const account = {
      ...EMPTY,
      provider: request.provider,
      inbox_id: request.inbox_id,
      address: 'ada@example.com',
      state: 'connecting' as const,
      last_synced_at: null,
      next_sync_at: null,
      outbox: { pending: 0, oldest_age_s: null },
      set_aside: 0,
      last_error: null,
      stream_reset: false,
      completeness: { provider_total: null, stored: 0, published: 0, proven_at: null },
      refill: false,
      gap_before: null,
      instance: 'stand-in-1',
      live: true,
    }
    accounts.set(userId, [...(accounts.get(userId) ?? []), account])
    return { message: 'mail sync started', provider: request.provider, user_id: userId }
  }
  const disconnect = (userId: string, request: DisconnectRequest): unknown => {
    const kept = (accounts.get(userId) ?? []).filter((a) => a.provider !== request.provider)
    accounts.set(userId, kept)
    return { message: 'mail sync stopped' }
  }

  const add = (subject: string, name: string, operation: OperationName): void => {
    service.addEndpoint(name, {
      subject,
      metadata: { description: CONTRACT[operation].description },
      handler: (error, message) => {
        if (error !== null) return
        answer(operation, message).then(
          (reply) => message.respond(JSON.stringify(reply)),
          (thrown: unknown) => {
            const failure = toAppError(thrown)
            errors[failure.code] = (errors[failure.code] ?? 0) + 1
            const body = errorBody(failure, message.headers?.get(HEADER_REQUEST_ID) ?? '')
            message.respondError(failure.status, body.error.message, JSON.stringify(body))
          },
        )
      },
    })
  }
  for (const operation of OPERATIONS) {
    if (verifier !== null) add(CONTRACT[operation].subject, operation, operation)
    if (asUsers) add(`${GROUP}.as.*.${operation}`, `as-${operation}`, operation)
  }
  await nc.flush()
  return standIn
}

function verifierOf(verifier: JwtVerifier | null): JwtVerifier {
  if (verifier === null) throw new AppError('INTERNAL')
  return verifier
}
