/**
 * Target 3: new mail on a quiet system. From the commit of a mail until its event is acknowledged, with store and relay in
 * this process, beside a publish of the same size without either; and from the provider's answer that names a mail until a consumer has its event, with an instance
 * between simulator and consumer, which share a clock here.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { createLog } from '#shared/log.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import { firstMomentMs, type Pace, slotOf } from '../../../services/mail/base/slot.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { openJetStream } from '../../../services/mail/outbox/jetstream.ts'
import { publish } from '../../../services/mail/outbox/publish.ts'
import { Relay } from '../../../services/mail/outbox/relay.ts'
import { ensureEventStream } from '../../../services/mail/outbox/stream.ts'
import { storeNew, toEvent } from '../../../services/mail/store/messages.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import { ACCOUNT, EPOCH, mail } from '../../mail/store/support.ts'
import type { Answer } from '../../simulator/types.ts'
import { until } from '../../support/until.ts'
import type { Figure } from '../kit/figure.ts'
import type { BenchOptions } from '../kit/options.ts'
import { collectYoung } from '../kit/own-garbage.ts'
import { oddAgainstEven, percentile } from '../kit/statistics.ts'
import { orStopped } from '../kit/stop.ts'
import { medianOf, type Undisturbed, undisturbed, type Windows } from '../kit/undisturbed.ts'
import { ALL_EVENTS, World } from './world.ts'

/**
 * `commitMs` and `everyMs`: from one mail to the next. `warmUp`: mails that go ahead, in full until what runs for each of them
 * has been compiled. `mails`: in each window.
 */
type Size = Windows & { warmUp: number; commitMs: number; everyMs: number; mails: number }
const FULL: Size = { warmUp: 600, commitMs: 20, everyMs: 50, mails: 300, windows: 7, again: true }
const QUICK: Size = { warmUp: 50, commitMs: 10, everyMs: 50, mails: 100, windows: 2, again: false }
const USERS = 20
/** After an event the next poll is due later than that. */
const TIDY_MS = 15
/** One mail of 250 at the simulator has 1,500 recipients, which take 30 ms; those of the backfills have none like it either. */
const ORDINARY = { hugeTo: 0 }
const STREAM = { retentionDays: 30, dedupeWindowMs: 600_000, maxBytes: 1024 ** 3, replicas: 1 }
const OUTBOX = { onNewStream: 'skip', retentionMs: 30 * 86_400_000, keepMs: 86_400_000 } as const
const log = createLog('bench', 'silent')

export async function measure(options: BenchOptions): Promise<Figure[]> {
  const size = options.quick ? QUICK : FULL
  const { acks, alone } = await commitToAck(size, options)
  const events = await answerToEvent(size, options)
  return [
    ...figuresOf('commit to acknowledgement', acks, { p50: { max: 1 }, p99: { max: 3 } }),
    ...figuresOf('a publish alone', alone, { p50: {}, p99: {} }),
    ...figuresOf('answer of the provider to event', events, { p50: {}, p99: { max: 10 } }),
  ]
}

type Bounds = Record<'p50' | 'p99', Pick<Figure, 'max'>>

/** ms of each mail, by windows. */
type Samples = Undisturbed<number[]>

/** The median over the windows of each percentile. */
function figuresOf(series: string, windows: Samples, { p50, p99 }: Bounds): Figure[] {
  const samples = windows.values.flat()
  const of = (part: number) => ({ target: 3, unit: 'ms', ...medianOf(windows, (window) => percentile(window, part)) })
  const tail = of(0.99)
  return [
    { ...of(0.5), name: `${series}, p50`, ...p50 },
    // With the samples it is drawn once.
    { ...tail, name: `${series}, p99`, series, samples, note: `${samples.length} mails`, ...p99 },
    { target: 3, name: `${series}, A/A of the p99`, value: oddAgainstEven(tail.rounds), unit: 'times' },
  ]
}

type Acks = Record<'acks' | 'alone', Samples>
/** ms. */
type One = { ack: number; alone: number }

/**
 * One mail at a time, and half way to the next an event that was made beforehand, by the same call of the client: what of the
 * time is the machine's and the server's.
 */
async function commitToAck({ warmUp, mails, commitMs, ...plan }: Size, { dir, signal }: BenchOptions): Promise<Acks> {
  await using world = await World.start()
  const { js, jsm } = await openJetStream(world.nc)
  await ensureEventStream(jsm, STREAM)
  await using store = new UserStore({ dataDir: dir, log })
  const { userId } = ACCOUNT
  store.adopt(userId, EPOCH)
  let acked = Promise.withResolvers<number>()
  const onPublished = (): void => acked.resolve(performance.now())
  const relay = new Relay({ js, jsm, store, clock: systemClock, log, config: OUTBOX, hooks: { onPublished } })
  const stop = new AbortController()
  const run = relay.start(userId, EPOCH, () => true, stop.signal)
  const event = {
    subject: eventSubject('nobody'),
    payload: Buffer.from(JSON.stringify(toEvent(ACCOUNT, mail('m'), 0))),
  }
  let [last, sent] = [0, 0]
  /** One mail, and what both took. */
  const one = async (): Promise<One> => {
    const i = sent++
    await sleep(commitMs / 2, undefined, { signal })
    const begun = performance.now()
    const published = await publish(js, { ...event, msgId: `alone-${i}` }, last)
    if (published.kind !== 'stored') throw new Error(`an event alone was not stored: ${published.kind}`)
    last = published.seq
    const alone = performance.now() - begun
    await sleep(commitMs / 2, undefined, { signal })
    acked = Promise.withResolvers()
    const { rows } = store.commit(userId, EPOCH, (tx) => storeNew(tx, ACCOUNT, [mail(`m${i}`)], Date.now()))
    const committed = performance.now()
    run.wake(rows)
    return { ack: (await orStopped(acked.promise, signal)) - committed, alone }
  }
  const many = async (count: number): Promise<One[]> => {
    const found: One[] = []
    for (let i = 0; i < count; i++) found.push(await one())
    return found
  }
  try {
    await many(warmUp)
    const { values, all } = await undisturbed(plan, () => many(mails))
    const each = (of: One[][], what: keyof One): number[][] => of.map((window) => window.map((mail) => mail[what]))
    const of = (what: keyof One): Samples => ({ values: each(values, what), all: each(all, what) })
    return { acks: of('ack'), alone: of('alone') }
  } finally {
    stop.abort(new Error('measured'))
    await run.done
  }
}

/** Each user has one new mail at each poll, and a moment of its own. */
async function answerToEvent({ warmUp, mails, everyMs, ...plan }: Size, { signal }: BenchOptions): Promise<Samples> {
  /** When the answer was given that named the mail, by its id. */
  const named = new Map<string, number>()
  const intervalMs = USERS * everyMs
  const onSent = (_route: string, answer: Answer): void => {
    const at = performance.now()
    for (const id of newIds(answer)) if (!named.has(id)) named.set(id, at)
  }
  await using world = await World.start({
    simulator: { onSent },
    env: { MAIL_SYNC_INTERVAL_MS: String(intervalMs) },
  })
  const { box, nc } = world
  await world.spawn('a')
  const names = usersApart({ intervalMs, intervalMaxMs: intervalMs })
  const spec = { n: 0, folders: [], mix: { ...ALL_EVENTS, ...ORDINARY } }
  for (const user of names) await box.connect(nc, user, 'google', spec)
  await orStopped(box.allLive(nc, names), signal)
  let samples: number[] = []
  const reader = await readEvents(nc, (id) => {
    const at = named.get(id)
    if (at === undefined) return
    samples.push(performance.now() - at)
    // Else it would be collected in the midst of an answer or an event, up to 24 ms at a time, and none of it is the service's.
    setTimeout(collectYoung, TIDY_MS)
  })
  let delivered = 0
  /** So many mails, and how long each took. */
  const many = async (count: number): Promise<number[]> => {
    samples = []
    for (let i = 0; i < count; i++) {
      await sleep(everyMs, undefined, { signal })
      box.sim.mutate({ type: 'deliver', user: box.simUser(names[delivered++ % USERS] ?? ''), provider: 'google' })
    }
    await until('all events have come', () => samples.length >= count, { signal })
    return samples
  }
  await many(warmUp)
  const found = await undisturbed(plan, () => many(mails))
  await reader.close()
  return found
}

/**
 * Names of users no two of whom are polled at the same moment, in the order of their moments. Taken as they come, 15 of 20 would share
 * one in so short an interval, at every poll again, and most mails would wait for another user's: that is no quiet system.
 */
function usersApart(pace: Pace): string[] {
  const names = new Map<number, string>()
  for (let i = 0; names.size < USERS; i++) {
    const at = firstMomentMs(slotOf(`user${i}`), pace)
    if (!names.has(at)) names.set(at, `user${i}`)
  }
  return [...names].sort(([a], [b]) => a - b).map(([, name]) => name)
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
