/**
 * What an instance says of itself and of the others it sees: the reply to `mail.fleet`, which every instance answers.
 * No user, no address of a mailbox and no path is part of it.
 */
import * as v from 'valibot'

const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const measure = v.pipe(v.number(), v.minValue(0))
const counts = v.record(v.string(), count)

const SeenSession = v.object({
  sid: v.string(),
  instance: v.string(),
  state: v.picklist(['live', 'draining', 'dead']),
  silent_ms: v.pipe(measure, v.description('since this instance last saw the session change')),
})
export type SeenSession = v.InferOutput<typeof SeenSession>

/** A reply has to fit into a message, however many instances have come and gone within the last hour. */
export const FLEET_SESSIONS_MAX = 1_000

export const FleetReply = v.object({
  instance: v.pipe(v.string(), v.description('stable name')),
  sid: v.nullable(v.pipe(v.string(), v.description('its present session, or the last one; null before the first'))),
  state: v.pipe(
    v.picklist(['live', 'draining', 'suspended', 'closed']),
    v.description('suspended: open, but without an acknowledged heartbeat it does not trust its own term'),
  ),
  disk_fault: v.pipe(v.nullable(v.string()), v.description('why its disk can keep no users now; null: it can')),
  blind: v.optional(v.pipe(v.boolean(), v.description('true: its watches fail, so it can keep no users'))),
  address: v.pipe(v.string(), v.description('where the other instances ask this process')),
  directory: v.pipe(v.string(), v.description('id of the data directory')),
  version: v.string(),
  commit: v.string(),
  node: v.string(),
  uptime_s: measure,
  users: v.pipe(count, v.description('users owned')),
  accounts: v.pipe(counts, v.description('accounts of these users by state')),
  outbox_pending: count,
  rates: v.object({
    mails_stored_per_s: v.pipe(measure, v.description('over the last minute')),
    events_published_per_s: v.pipe(measure, v.description('over the last minute')),
  }),
  event_loop_lag_ms: v.pipe(
    v.object({ p50: measure, p99: measure, max: measure }),
    v.description('over the last minute'),
  ),
  zombie_writes_refused: v.pipe(counts, v.description('by store, since the start')),
  takeovers: v.pipe(counts, v.description('by base, since the start')),
  sessions: v.pipe(
    v.array(SeenSession),
    v.description(`sessions that it sees in NATS, its own as well; the ${FLEET_SESSIONS_MAX} newest`),
  ),
  sessions_left_out: v.optional(v.pipe(count, v.description('older sessions that it sees besides'))),
})
export type FleetReply = v.InferOutput<typeof FleetReply>

export const FLEET_DESCRIPTION =
  'What each instance says of itself and of the sessions it sees. One request, one reply of every instance.'

export const FLEET_EXAMPLE: FleetReply = {
  instance: 'mail-1',
  sid: '018bcfe5-6800-7000-8000-000000000001',
  state: 'live',
  disk_fault: null,
  blind: false,
  address: '018bcfe5-6800-7000-8000-000000000000',
  directory: '7f0c3f0e-5a0b-4f5e-9d0c-0d6b3c1f2a11',
  version: '0.1.0',
  commit: '0123456789abcdef0123456789abcdef01234567',
  node: '24.0.0',
  uptime_s: 3600,
  users: 1200,
  accounts: { live: 1190, backfilling: 10 },
  outbox_pending: 3,
  rates: { mails_stored_per_s: 48.2, events_published_per_s: 48.1 },
  event_loop_lag_ms: { p50: 0.1, p99: 3.2, max: 12.5 },
  zombie_writes_refused: { sqlite: 0, state: 0, stream: 0 },
  takeovers: { local: 1150, new: 50 },
  sessions: [
    { sid: '018bcfe5-6800-7000-8000-000000000001', instance: 'mail-1', state: 'live', silent_ms: 400 },
    { sid: '018bcfe5-6800-7000-8000-000000000002', instance: 'mail-2', state: 'live', silent_ms: 900 },
  ],
  sessions_left_out: 0,
}
