/**
 * Target 3: new mail on a quiet system. From the commit of a mail until its event is acknowledged and marked, with store and
 * relay in this process; and from the provider's answer that names a mail until a consumer has its event, with an instance
 * between simulator and consumer, which share a clock here.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { createLog } from '#shared/log.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM } from '#shared/subjects.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { openJetStream } from '../../../services/mail/outbox/jetstream.ts'
import { Relay } from '../../../services/mail/outbox/relay.ts'
import { ensureEventStream } from '../../../services/mail/outbox/stream.ts'
import { storeNew } from '../../../services/mail/store/messages.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import { ACCOUNT, EPOCH, mail } from '../../mail/store/support.ts'
import type { Answer } from '../../simulator/types.ts'
import { until } from '../../support/until.ts'
import type { Figure } from '../kit/figure.ts'
import type { BenchOptions } from '../kit/options.ts'
import { percentile } from '../kit/statistics.ts'
import { ALL_EVENTS, World } from './world.ts'

const FULL = { mails: 2_000, users: 20, deliveries: 2_000 }
const QUICK = { mails: 200, users: 20, deliveries: 200 }
const EVERY_MS = 20
const WARM_UP = 50
const DELIVER_EVERY_MS = 50
/** Each user has one new mail in it. */
const POLL_MS = 1_000
const STREAM = { retentionDays: 30, dedupeWindowMs: 600_000, maxBytes: 1024 ** 3, replicas: 1 }
const OUTBOX = { onNewStream: 'skip', retentionMs: 30 * 86_400_000, keepMs: 86_400_000 } as const
const log = createLog('bench', 'silent')

export async function measure(options: BenchOptions): Promise<Figure[]> {
  const size = options.quick ? QUICK : FULL
  const acks = await commitToAck(size.mails, options)
  const events = await answerToEvent(size, options)
  const ack = { target: 3, unit: 'ms', note: `${acks.length} mails, one at a time` }
  const event = { target: 3, unit: 'ms', note: `${events.length} mails, ${1_000 / DELIVER_EVERY_MS} a second` }
  // With the samples each is drawn once.
  return [
    { ...ack, name: 'commit to acknowledgement, p50', value: percentile(acks, 0.5), max: 1 },
    { ...ack, name: 'commit to acknowledgement, p99', value: percentile(acks, 0.99), max: 3, samples: acks },
    { ...event, name: 'answer of the provider to event, p50', value: percentile(events, 0.5) },
    {
      ...event,
      name: 'answer of the provider to event, p99',
      value: percentile(events, 0.99),
      max: 10,
      samples: events,
    },
  ]
}

/** One mail at a time. The transaction that marks the row is part of it, so the acknowledgement itself is earlier. */
async function commitToAck(mails: number, { dir, signal }: BenchOptions): Promise<number[]> {
  await using world = await World.start()
  const { js, jsm } = await openJetStream(world.nc)
  await ensureEventStream(jsm, STREAM)
  await using store = new UserStore({ dataDir: dir, log })
  const { userId } = ACCOUNT
  store.adopt(userId, EPOCH)
  let marked = Promise.withResolvers<number>()
  const onPublished = (): void => marked.resolve(performance.now())
  const relay = new Relay({ js, jsm, store, clock: systemClock, log, config: OUTBOX, hooks: { onPublished } })
  const stop = new AbortController()
  const run = relay.start(userId, EPOCH, () => true, stop.signal)
  const samples: number[] = []
  try {
    for (let i = 0; i < WARM_UP + mails; i++) {
      await sleep(EVERY_MS, undefined, { signal })
      marked = Promise.withResolvers()
      store.commit(userId, EPOCH, (tx) => storeNew(tx, ACCOUNT, [mail(`m${i}`)], Date.now()))
      const committed = performance.now()
      run.wake()
      const tookMs = (await marked.promise) - committed
      if (i >= WARM_UP) samples.push(tookMs)
    }
  } finally {
    stop.abort(new Error('measured'))
    await run.done
  }
  return samples
}

async function answerToEvent(
  { users, deliveries }: { users: number; deliveries: number },
  { signal }: BenchOptions,
): Promise<number[]> {
  /** When the answer was given that named the mail, by its id. */
  const named = new Map<string, number>()
  const onAnswer = (_route: string, answer: Answer): void => {
    const at = performance.now()
    for (const id of newIds(answer)) if (!named.has(id)) named.set(id, at)
  }
  await using world = await World.start({
    simulator: { onAnswer },
    env: { MAIL_SYNC_INTERVAL_MS: String(POLL_MS) },
  })
  const { box, nc } = world
  await world.spawn('a')
  const names = Array.from({ length: users }, (_, i) => `user${i}`)
  const spec = { n: 0, folders: [], mix: ALL_EVENTS }
  for (const user of names) await box.connect(nc, user, 'google', spec)
  await box.allLive(nc, names)
  const samples: number[] = []
  const reader = await readEvents(nc, (id) => {
    const at = named.get(id)
    if (at !== undefined) samples.push(performance.now() - at)
  })
  for (let i = 0; i < WARM_UP + deliveries; i++) {
    await sleep(DELIVER_EVERY_MS, undefined, { signal })
    box.sim.mutate({ type: 'deliver', user: box.simUser(names[i % users] ?? ''), provider: 'google' })
  }
  await until('all events have come', () => samples.length >= WARM_UP + deliveries, { signal })
  await reader.close()
  return samples.slice(WARM_UP)
}

/** Mails that a poll brings. */
function newIds({ body }: Answer): string[] {
  if (typeof body !== 'object' || !('history' in body)) return []
  const { history } = body as { history: { messagesAdded?: { message: { id: string } }[] }[] }
  return history.flatMap(({ messagesAdded = [] }) => messagesAdded.map(({ message }) => message.id))
}

async function readEvents(nc: NatsConnection, seen: (id: string) => void) {
  const consumer = { durable_name: 'bench', ack_policy: AckPolicy.None, deliver_policy: DeliverPolicy.New }
  await (await jetstreamManager(nc)).consumers.add(EVENT_STREAM, consumer)
  const reader = await jetstream(nc).consumers.get(EVENT_STREAM, 'bench')
  return await reader.consume({
    callback: (message) => seen(message.json<{ provider_message_id: string }>().provider_message_id),
  })
}
