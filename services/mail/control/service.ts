/**
 * The NATS micro service: endpoints with schemas, errors and HTTP routes in their metadata, and statistics that are true.
 * `mail.as.*` is served only where NATS permissions can decide who may use it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Endpoint, type Service, type ServiceGroup, Svcm } from '@nats-io/services'
import { toJsonSchema } from '@valibot/to-json-schema'
import { CONTRACT, type ConnectRequest, type DisconnectRequest, type Operation } from '#shared/contract.ts'
import { ERASE } from '#shared/erase.ts'
import { FLEET_DESCRIPTION, FleetReply } from '#shared/fleet.ts'
import { INSPECT, type Inspection, type Inspections } from '#shared/inspect.ts'
import type { JwtVerifier } from '#shared/jwt.ts'
import type { Log } from '#shared/log.ts'
import type { Msg, NatsConnection } from '#shared/nats.ts'
import { REKEY_DESCRIPTION, RekeyReply, RekeyRequest } from '#shared/rekey.ts'
import {
  GROUP,
  HEADER_AUTHORIZATION,
  HEADER_USER,
  INSPECTIONS,
  type InspectionName,
  OPERATIONS,
  QUEUE,
  SERVICE_NAME,
  userOfAsSubject,
} from '#shared/subjects.ts'
import type { Caller } from '#shared/trail.ts'
import { decodeUser, encodeUser } from '#shared/user-token.ts'
import type { Clock } from '../base/time.ts'
import { type EndpointSpec, EndpointStats, type OpenSpec, type Request, type UserSpec } from './endpoint.ts'
import { inboxOnly } from './inbox-only.ts'
import { UnderWay } from './under-way.ts'
import { UserRate, type UserRates } from './user-rate.ts'

const RETRY_MS = 100

type Inspected = Inspections[InspectionName]['request']

export type Handlers = {
  connect(userId: string, request: ConnectRequest, caller: Caller): Promise<unknown>
  status(userId: string): Promise<unknown>
  disconnect(userId: string, request: DisconnectRequest, caller: Caller): Promise<unknown>
  erase(userId: string, caller: Caller): Promise<unknown>
  ownerStatus(userId: string): Promise<unknown>
  fleet(): Promise<FleetReply>
  rekey(request: RekeyRequest, requestId: string): Promise<RekeyReply>
  /** Through any instance. */
  inspect(name: InspectionName, userId: string, request: Inspected): Promise<unknown>
  /** As the owner. */
  ownerInspect(name: InspectionName, userId: string, request: Inspected): Promise<unknown>
}

export type ServiceOptions = {
  nc: NatsConnection
  jwt: JwtVerifier
  handlers: Handlers
  log: Log
  version: string
  /** Stable name of the instance. */
  instance: string
  /** Where the others ask this instance: `mail.at.<address>.*`. */
  address: string
  metadata: Record<string, string>
  /** Serve `mail.as.*`. */
  trusted: boolean
  limits: UserRates & { concurrent: number }
  clock: Clock
  /** Flat metrics for `$SRV.STATS`. */
  metrics(): Promise<Record<string, number>>
}

type Registered = { spec: EndpointSpec; stats: EndpointStats; metadata: Record<string, string> }
/** The live endpoint object that the framework hands to its statsHandler. */
type LiveEndpoint = Endpoint & {
  name?: string
  stats?: {
    num_requests: number
    num_errors: number
    processing_time: number
    average_processing_time: number
    last_error?: string
  }
}

export class ControlService implements AsyncDisposable {
  readonly #nc: NatsConnection
  readonly #service: Service
  readonly #underWay: UnderWay

  private constructor(nc: NatsConnection, service: Service, underWay: UnderWay) {
    this.#nc = nc
    this.#service = service
    this.#underWay = underWay
  }

  /** Registers all endpoints; from here on requests are answered. */
  static async start(options: ServiceOptions): Promise<ControlService> {
    const endpoints = new Map<string, Registered>()
    const underWay = new UnderWay(options.limits.concurrent)
    const userRate = new UserRate(options.limits, options.clock)
    const service = await new Svcm(inboxOnly(options.nc, options.log)).add({
      name: SERVICE_NAME,
      version: options.version,
      description:
        'Keeps Gmail and Outlook mailboxes in sync and puts each mail exactly once on user.{id}.email.received',
      // An endpoint without a queue group of its own gets this one, and the view of the fleet must have none.
      queue: '',
      metadata: options.metadata,
      statsHandler: (endpoint) => trueStats(endpoint, endpoints, options),
    })
    const add = (group: ServiceGroup, name: string, subject: string, registered: Registered): void => {
      endpoints.set(name, registered)
      group.addEndpoint(name, {
        subject,
        metadata: registered.metadata,
        handler: (error, msg) => {
          if (error !== null) options.log.error({ err: error, endpoint: name }, 'endpoint failed')
          else underWay.answer(msg as Request, registered.spec, registered.stats, options.log)
        },
      })
    }
    const mail = service.addGroup(GROUP, QUEUE)
    for (const name of OPERATIONS) {
      // What reaches the handler has passed the operation's own schema.
      const handle = options.handlers[name] as UserSpec['handle']
      const operation = CONTRACT[name]
      add(mail, name, name, {
        spec: {
          operation,
          handle,
          by: 'user',
          authorise: async (msg) => {
            const userId = await userOfJwt(options.jwt, msg.headers?.get(HEADER_AUTHORIZATION))
            userRate.admit(userId, name)
            return userId
          },
        },
        stats: new EndpointStats(),
        metadata: metadataOf(operation),
      })
      if (!options.trusted) continue
      add(mail, `as-${name}`, `as.*.${name}`, {
        spec: { operation, handle, by: 'service', authorise: async (msg) => userOfAsSubject(msg.subject) },
        stats: new EndpointStats(),
        metadata: { ...metadataOf(operation), description: `For trusted services: ${operation.description}`, http: '' },
      })
    }
    add(mail, 'at-status', `at.${options.address}.status`, {
      spec: {
        operation: null,
        by: 'instance',
        handle: (userId) => options.handlers.ownerStatus(userId),
        authorise: async (msg) => decodeUser(new TextDecoder().decode(msg.data)),
      },
      stats: new EndpointStats(),
      metadata: { description: 'Between instances: status of a user by its owner', http: '' },
    })
    if (options.trusted)
      add(mail, 'as-erase', 'as.*.erase', {
        spec: {
          operation: ERASE,
          by: 'service',
          authorise: async (msg) => userOfAsSubject(msg.subject),
          handle: (userId, _request, caller) => options.handlers.erase(userId, caller),
        },
        stats: new EndpointStats(),
        metadata: metadataOf(ERASE),
      })
    for (const name of INSPECTIONS) {
      for (const [endpoint, subject, spec] of inspectionsOf(name, options))
        add(mail, endpoint, subject, { spec, stats: new EndpointStats(), metadata: metadataOf(INSPECT[name]) })
    }
    for (const [name, spec, metadata] of answeredByAll(options))
      add(service.addGroup(GROUP, ''), name, name, { spec, stats: new EndpointStats(), metadata })
    await subscribed(options.nc)
    return new ControlService(options.nc, service, underWay)
  }

  /** Resolves, with a fault or null, when the service has stopped. */
  get stopped(): Promise<Error | null> {
    return this.#service.stopped
  }

  /** Takes no more requests and answers those in flight, unless the connection is closed meanwhile. */
  async [Symbol.asyncDispose](): Promise<void> {
    // It waits until the server has heard of it, and knows no end of that.
    await Promise.race([this.#service.stop(), this.#nc.closed()])
    await this.#underWay.settled()
  }
}

/**
 * Until the server has the subscriptions, a request finds nobody. A link that is lost meanwhile takes the question with it,
 * not the subscriptions: the client makes them again.
 */
async function subscribed(nc: NatsConnection): Promise<void> {
  for (;;) {
    try {
      return await Promise.race([nc.flush(), nc.closed().then(refuse)])
    } catch (error) {
      if (nc.isClosed()) throw error
      await sleep(RETRY_MS)
    }
  }
}

const refuse = (cause: unknown): never => {
  throw new Error('the connection to NATS was closed', { cause })
}

/** Without a queue group. Where NATS has no permissions nobody may begin anything. */
function* answeredByAll({
  handlers,
  trusted,
}: ServiceOptions): Generator<[name: string, spec: OpenSpec, metadata: Record<string, string>]> {
  const fleet = { description: FLEET_DESCRIPTION, response_schema: compact(FleetReply), errors: 'INTERNAL', http: '' }
  yield ['fleet', { operation: null, handleAny: handlers.fleet }, fleet]
  if (!trusted) return
  const schemas = { request_schema: compact(RekeyRequest), response_schema: compact(RekeyReply) }
  yield [
    'rekey',
    {
      operation: { name: 'rekey', request: RekeyRequest },
      // What reaches the handler has passed its own schema.
      handleAny: (request, requestId) => handlers.rekey(request as RekeyRequest, requestId),
    },
    { description: REKEY_DESCRIPTION, ...schemas, errors: 'BAD_JSON BAD_REQUEST TOO_LARGE INTERNAL', http: '' },
  ]
}

/** For operators and trusted services, and between instances. */
function* inspectionsOf(
  name: InspectionName,
  { handlers, trusted, address }: ServiceOptions,
): Generator<[endpoint: string, subject: string, UserSpec]> {
  if (!trusted) return
  // What reaches the handlers has passed its own schema.
  const operation = INSPECT[name]
  const authorise = async (msg: Msg): Promise<string> => userOfAsSubject(msg.subject)
  const handle: UserSpec['handle'] = (userId, request) => handlers.inspect(name, userId, request as Inspected)
  yield [`as-${name}`, `as.*.${name}`, { operation, authorise, by: 'service', handle }]
  yield [
    `at-${name}`,
    `at.${address}.${name}`,
    {
      operation,
      by: 'instance',
      authorise: async (msg) => decodeUser(msg.headers?.get(HEADER_USER) ?? ''),
      handle: (userId, request) => handlers.ownerInspect(name, userId, request as Inspected),
    },
  ]
}

async function userOfJwt(jwt: JwtVerifier, authorization: string | undefined): Promise<string> {
  const { userId } = await jwt.verify(authorization === '' ? undefined : authorization)
  encodeUser(userId)
  return userId
}

const compact = (schema: Operation['request']): string => JSON.stringify(toJsonSchema(schema, { errorMode: 'ignore' }))

const metadataOf = (operation: Operation | Inspection | typeof ERASE): Record<string, string> => ({
  description: operation.description,
  request_schema: compact(operation.request),
  response_schema: compact(operation.reply),
  errors: operation.errors.join(' '),
  http: 'http' in operation ? `${operation.http.method} ${operation.http.path}` : '',
})

/** Overwrites the framework's counters in place and answers what it shows as `data`. */
async function trueStats(
  endpoint: LiveEndpoint,
  endpoints: Map<string, Registered>,
  options: ServiceOptions,
): Promise<unknown> {
  const stats = endpoints.get(endpoint.name ?? '')?.stats
  if (stats === undefined) return null
  if (endpoint.stats !== undefined)
    Object.assign(endpoint.stats, {
      num_requests: stats.requests,
      num_errors: stats.errors,
      processing_time: stats.processingNs,
      average_processing_time: stats.requests === 0 ? 0 : Math.round(stats.processingNs / stats.requests),
      last_error: stats.lastError,
    })
  return {
    instance: options.instance,
    in_flight: stats.inFlight,
    errors: Object.fromEntries(stats.byCode),
    p50_ms: stats.percentileMs(50),
    p95_ms: stats.percentileMs(95),
    ...(endpoint.name === 'status' ? { metrics: await options.metrics() } : {}),
  }
}
