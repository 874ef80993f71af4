/**
 * What the running instances say of themselves, over `$SRV` and `mail.fleet`: who is there, their endpoints, their
 * counters, which sessions they see. Used by the bridge and by mailctl. It believes nothing: an answer that does not fit is left out.
 */
import * as v from 'valibot'
import { FleetReply } from './fleet.ts'
import { headers, type NatsConnection } from './nats.ts'
import { decodeJson, isNoResponders } from './nats-answer.ts'
import { RekeyReply, type RekeyRequest } from './rekey.ts'
import { FLEET_SUBJECT, HEADER_REQUEST_ID, REKEY_SUBJECT, SRV_INFO, SRV_PING, SRV_STATS } from './subjects.ts'

/** All instances have answered when none did for this long. */
const STALL_MS = 200
/** An instance that is slow at this moment is what one wants to see of a fleet. */
const FLEET_STALL_MS = 1_000

const identity = { name: v.string(), id: v.string(), version: v.string() }
const strings = v.optional(v.nullable(v.record(v.string(), v.string())))
const count = v.optional(v.number(), 0)

const Ping = v.object({ ...identity, metadata: strings })
const Info = v.object({
  ...identity,
  description: v.optional(v.string(), ''),
  metadata: strings,
  endpoints: v.array(
    v.object({
      name: v.string(),
      subject: v.string(),
      queue_group: v.optional(v.string(), ''),
      metadata: strings,
    }),
  ),
})
/** What an instance adds to the statistics of each endpoint; `metrics` only at the endpoint `status`. */
const EndpointData = v.object({
  instance: v.optional(v.string()),
  in_flight: count,
  errors: v.optional(v.record(v.string(), v.number()), {}),
  p50_ms: v.optional(v.nullable(v.number()), null),
  p95_ms: v.optional(v.nullable(v.number()), null),
  metrics: v.optional(v.record(v.string(), v.number())),
})
const Stats = v.object({
  ...identity,
  started: v.optional(v.string(), ''),
  metadata: strings,
  endpoints: v.array(
    v.object({
      name: v.string(),
      subject: v.string(),
      num_requests: count,
      num_errors: count,
      /** Nanoseconds, summed and on average. */
      processing_time: count,
      average_processing_time: count,
      last_error: v.optional(v.string(), ''),
      data: v.fallback(v.nullish(EndpointData), null),
    }),
  ),
})
export type InstancePing = v.InferOutput<typeof Ping>
export type InstanceInfo = v.InferOutput<typeof Info>
export type InstanceStats = v.InferOutput<typeof Stats>

/** Each instance that answers within `waitMs`; an empty list when there is none. */
export const pingInstances = (nc: NatsConnection, waitMs: number): Promise<InstancePing[]> =>
  ask(nc, SRV_PING, Ping, waitMs)
export const infoOfInstances = (nc: NatsConnection, waitMs: number): Promise<InstanceInfo[]> =>
  ask(nc, SRV_INFO, Info, waitMs)
export const statsOfInstances = (nc: NatsConnection, waitMs: number): Promise<InstanceStats[]> =>
  ask(nc, SRV_STATS, Stats, waitMs)
export const fleetOf = (nc: NatsConnection, waitMs: number): Promise<FleetReply[]> =>
  ask(nc, FLEET_SUBJECT, FleetReply, waitMs, { stallMs: FLEET_STALL_MS })
/** @param requestId the same for all requests of one rekey: each instance puts it on the audit trail once */
export const rekeyOf = (
  nc: NatsConnection,
  request: RekeyRequest,
  requestId: string,
  waitMs: number,
): Promise<RekeyReply[]> =>
  ask(nc, REKEY_SUBJECT, RekeyReply, waitMs, { stallMs: FLEET_STALL_MS, payload: JSON.stringify(request), requestId })

/** The name that an instance was given, else the id of its service. */
export const instanceName = (stats: InstanceStats): string =>
  stats.endpoints.find((endpoint) => endpoint.data?.instance !== undefined)?.data?.instance ??
  stats.metadata?.instance ??
  stats.id

/** True when one instance answers a ping within `waitMs`. */
export async function anyInstance(nc: NatsConnection, waitMs: number): Promise<boolean> {
  try {
    await nc.request(SRV_PING, '', { timeout: waitMs })
    return true
  } catch (error) {
    if (error instanceof Error) return false
    throw error
  }
}

async function ask<S extends v.GenericSchema>(
  nc: NatsConnection,
  subject: string,
  schema: S,
  waitMs: number,
  { stallMs = STALL_MS, payload = '', requestId }: { stallMs?: number; payload?: string; requestId?: string } = {},
): Promise<v.InferOutput<S>[]> {
  const found: v.InferOutput<S>[] = []
  const named = headers()
  if (requestId !== undefined) named.set(HEADER_REQUEST_ID, requestId)
  const options = {
    strategy: 'stall',
    maxWait: waitMs,
    stall: stallMs,
    ...(requestId === undefined ? {} : { headers: named }),
  } as const
  try {
    const answers = await nc.requestMany(subject, payload, options)
    for await (const answer of answers) {
      const parsed = v.safeParse(schema, decodeJson(answer.data))
      if (parsed.success) found.push(parsed.output)
    }
  } catch (error) {
    if (isNoResponders(error)) return []
    throw error
  }
  return found
}
