/** What a reader of events could try: requests to read more, to change something, and to have the server write for it. */
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { headers, type NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM, EVENT_STREAM_SUBJECT, eventSubject } from '#shared/subjects.ts'
import { refusals } from './refusals.ts'

/** Where an answer or a delivery must never come out: events, records, requests, the audit trail, the inboxes of others. */
export const FOREIGN_SUBJECTS = [
  'user.bob.email.received',
  '$KV.mail_leases.u.bob',
  '$KV.mail_accounts.bob.google.primary',
  'mail.connect',
  'mail.as.bob.disconnect',
  'mail.at.x.status',
  'audit.mail.bob.connect',
  '$O.mail_snapshots.x',
  '_INBOX_ops.x',
  '_INBOX_mailsync.x',
  '$JS.API.STREAM.PURGE.EMAIL_EVENTS',
]

/** The streams that an attack aims at, as ops makes them. */
export async function makeStreams(ops: NatsConnection): Promise<void> {
  const jsm = await jetstreamManager(ops)
  await jsm.streams.add({ name: EVENT_STREAM, subjects: [EVENT_STREAM_SUBJECT], allow_direct: true })
  await jsm.streams.add({ name: 'KV_mail_leases', subjects: ['$KV.mail_leases.>'], allow_direct: true })
}

let serial = 0
/** Publishes an event that says whose it is. */
export async function publishEvent(ops: NatsConnection, user: string): Promise<void> {
  const id = `event-${serial++}-of-${user}`
  const h = headers()
  h.set('Nats-Msg-Id', id)
  const event = { event_id: id, user_id: user, subject: `canary of ${user}` }
  await jetstream(ops).publish(eventSubject(user), JSON.stringify(event), { headers: h })
}

/**
 * Collects on which of the foreign subjects something comes out in the account of the service. Each has a subscription of
 * its own: what JetStream delivers somewhere bears the subject that it was stored under.
 */
export async function listen(ops: NatsConnection): Promise<Set<string>> {
  const heard = new Set<string>()
  for (const subject of FOREIGN_SUBJECTS) ops.subscribe(subject, { callback: () => void heard.add(subject) })
  await ops.flush()
  return heard
}

const consumer = (name: string, config: object): [string, object] => [
  `CONSUMER.CREATE.${EVENT_STREAM}.${name}`,
  { stream_name: EVENT_STREAM, config: { name, ack_policy: 'none', ...config } },
]
const BOB = { filter_subject: eventSubject('bob') }

/** Requests of the JetStream API, below its prefix, that no reader may make; `own` is its consumer, `bob` another one. */
const forbiddenRequests = (own: string): readonly [subject: string, body: object][] => [
  ['INFO', {}],
  ['STREAM.NAMES', {}],
  ['STREAM.LIST', {}],
  ...['KV_mail_accounts', 'KV_mail_leases', 'MAIL_AUDIT', 'OBJ_mail_snapshots'].flatMap(
    (stream): [string, object][] => [
      [`STREAM.INFO.${stream}`, {}],
      [`STREAM.MSG.GET.${stream}`, { seq: 1 }],
      [`DIRECT.GET.${stream}`, { seq: 1 }],
      [`CONSUMER.CREATE.${stream}.x`, { stream_name: stream, config: { name: 'x', ack_policy: 'none' } }],
    ],
  ),
  ['STREAM.CREATE.OTHER', { name: 'OTHER', subjects: ['mail.>'] }],
  [`STREAM.UPDATE.${EVENT_STREAM}`, { name: EVENT_STREAM, subjects: ['mail.>'] }],
  [`STREAM.MSG.GET.${EVENT_STREAM}`, { seq: 2 }],
  [`DIRECT.GET.${EVENT_STREAM}.user.bob.email.received`, {}],
  ...['DELETE', 'PURGE', 'MSG.DELETE', 'SNAPSHOT', 'RESTORE', 'LEADER.STEPDOWN'].map((verb): [string, object] => [
    `STREAM.${verb}.${EVENT_STREAM}`,
    { seq: 1 },
  ]),
  ['CONSUMER.NAMES.EMAIL_EVENTS', {}],
  ['CONSUMER.LIST.EMAIL_EVENTS', {}],
  consumer('other', BOB),
  consumer(own, { durable_name: own, filter_subject: 'user.>', ack_policy: 'explicit' }),
  consumer('pushed', { ...BOB, deliver_subject: 'mail.as.bob.disconnect' }),
  [`CONSUMER.CREATE.${EVENT_STREAM}`, { stream_name: EVENT_STREAM, config: BOB }],
  [`CONSUMER.DURABLE.CREATE.${EVENT_STREAM}.other`, { stream_name: EVENT_STREAM, config: { durable_name: 'other' } }],
  ...['DELETE', 'PAUSE', 'RESET', 'LEADER.STEPDOWN', 'UNPIN'].map((verb): [string, object] => [
    `CONSUMER.${verb}.${EVENT_STREAM}.${own}`,
    {},
  ]),
  ...['INFO', 'MSG.NEXT', 'DELETE'].map((verb): [string, object] => [`CONSUMER.${verb}.${EVENT_STREAM}.bob`, {}]),
]

/** What is nobody's but the service's and its callers'. */
const FOREIGN_PUBLISHES = [
  ...FOREIGN_SUBJECTS,
  ...[
    'mail.status',
    'mail.as.bob.status',
    'mail.fleet',
    'mail.rekey',
    '$SRV.PING',
    '$JS.ACK.EMAIL_EVENTS.bob.1.1.1.1.0',
  ],
]
const WIDE = ['>', 'user.>', 'user.bob.email.received', '$KV.>', 'mail.>', '_INBOX.>', '_INBOX_ops.>', '_R_.>', '$JS.>']

/**
 * Everything that a reader may not do, tried with both prefixes of the API.
 * @returns what the server let pass: none of it should be.
 */
export async function tryEverything(reader: NatsConnection, own: string): Promise<{ tried: number; passed: string[] }> {
  const api = forbiddenRequests(own).flatMap(([subject, body]) =>
    ['$JS.API', 'MAIL.API'].map((prefix) => [`${prefix}.${subject}`, body] as const),
  )
  const publishes = [...api, ...FOREIGN_PUBLISHES.map((subject) => [subject, {}] as const)]
  const refused = await refusals(reader, () => {
    for (const [subject, body] of publishes) reader.publish(subject, JSON.stringify(body))
    for (const subject of WIDE) reader.subscribe(subject, { callback: () => undefined })
  })
  const tried = [
    ...publishes.map(([subject]) => `publish ${subject}`),
    ...WIDE.map((subject) => `subscription ${subject}`),
  ]
  return { tried: tried.length, passed: tried.filter((what) => !refused.has(what)) }
}

/** Requests that a reader may make, each with a foreign subject for the answer. */
export async function answerElsewhere(reader: NatsConnection, requests: readonly [string, string][]): Promise<void> {
  for (const [subject, body] of requests) for (const reply of FOREIGN_SUBJECTS) reader.publish(subject, body, { reply })
  await reader.flush()
}
