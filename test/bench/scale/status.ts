/**
 * Target 4: how long the status of a quiet user takes while two mailboxes are backfilled as fast as the instance can, against
 * the same before and after, when nothing else happens.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { requestOperation } from '#shared/control-client.ts'
import { LOOP_TICK_MS } from '#shared/metrics.ts'
import { EVENT_STREAM, type ProviderName } from '#shared/subjects.ts'
import { connectWith, disconnect } from '../../mail/acceptance/support.ts'
import { until } from '../../support/until.ts'
import type { Figure } from '../kit/figure.ts'
import { NO_QUOTA } from '../kit/no-quota.ts'
import type { BenchOptions } from '../kit/options.ts'
import { median, oddAgainstEven, percentile } from '../kit/statistics.ts'
import { orStopped } from '../kit/stop.ts'
import { medianOf, type Undisturbed, undisturbed, type Windows } from '../kit/undisturbed.ts'
import { quiet } from '../kit/usage.ts'
import { BenchProvider } from '../provider/provider.ts'
import { credentialsOf } from './accounts.ts'
import { type Instance, World } from './world.ts'

type Size = Windows & { windowMs: number }
const FULL: Size = { windows: 7, again: true, windowMs: 6_000 }
const QUICK: Size = { windows: 2, again: false, windowMs: 1_200 }
const EVERY_MS = 10
/** Asked before anything is noted: the first answers of a process take longer. */
const WARM_UP_MS = 3_000
const QUIET = ['quiet']
const BUSY: readonly { user: string; provider: ProviderName }[] = [
  { user: 'gmail', provider: 'google' },
  { user: 'outlook', provider: 'microsoft' },
]
/** More than is fetched while anybody looks. */
const MANY = 5_000_000
/** Both are far in the middle of it by then. */
const UNDER_WAY = 2_000
/** Nothing is left to do of what was disconnected. */
const RESTED_MS = 1_200
const LAG = 'mailsync_nodejs_eventloop_lag_p99_seconds'

export async function measure(options: BenchOptions): Promise<Figure[]> {
  const { say, signal } = options
  const size = options.quick ? QUICK : FULL
  await using provider = await BenchProvider.start(signal)
  await using world = await World.start({ env: { ...NO_QUOTA, ...provider.env } })
  const { box, nc } = world
  const instance = await world.spawn('a')
  await connectWith(nc, 'quiet', 'google', credentialsOf('quiet', 0))
  await orStopped(box.allLive(nc, QUIET), signal)
  await asked(world, QUIET, WARM_UP_MS, signal)
  const before = await p99s(world, QUIET, size, signal)

  const stream = await jetstreamManager(nc)
  const events = async (): Promise<number> => (await stream.streams.info(EVENT_STREAM)).state.last_seq
  for (const { user, provider: name } of BUSY) await connectWith(nc, user, name, credentialsOf(user, MANY))
  const isUnderWay = async (): Promise<boolean> => (await events()) > UNDER_WAY
  await until('both backfills are under way', isUnderWay, { timeoutMs: 60_000, signal })
  await lagMs(instance)
  const [from, fromEvents] = [performance.now(), await events()]
  const busy = await p99s(world, QUIET, size, signal)
  const rate = Math.round(((await events()) - fromEvents) / ((performance.now() - from) / 1_000))
  const lag = await lagMs(instance)
  say(`status: ${rate} mails/s while it was asked`)
  const ofBusy = await p99s(
    world,
    BUSY.map(({ user }) => user),
    size,
    signal,
  )
  for (const { user, provider: name } of BUSY) await disconnect(nc, user, name)
  if (!(await quiet([instance.pid, world.server.pid], signal, RESTED_MS)))
    say('status: the instance did not come to rest after the backfills')
  const after = await p99s(world, QUIET, size, signal)
  return figuresOf({ before, busy, ofBusy, after }, lag, rate)
}

/** The 99th percentile of each window, ms. */
type Latencies = Record<'before' | 'busy' | 'ofBusy' | 'after', Undisturbed<number>>

function figuresOf({ before, busy, ofBusy, after }: Latencies, lag: number, rate: number): Figure[] {
  const idle = { values: [...before.values, ...after.values], all: [...before.all, ...after.all] }
  const idleMs = median(idle.values)
  const of = (name: string, windows: Undisturbed<number>, one = (ms: number): number => ms) => ({
    ...{ target: 4, name, unit: 'ms' },
    ...medianOf(windows, one),
  })
  const aa = (name: string, value: number): Figure => ({
    target: 4,
    name: `status, idle, A/A: ${name}`,
    unit: 'times',
    value,
  })
  return [
    of('status, idle, p99', idle),
    aa('after against before', median(after.values) / median(before.values)),
    aa('odd against even windows', oddAgainstEven(idle.values)),
    { ...of('status during two backfills, p99', busy), max: 25, note: `of a quiet user, at ${rate} mails/s` },
    { ...of('status during two backfills, p99', busy, (ms) => ms / idleMs), unit: 'of idle', max: 3 },
    of('status of those who are backfilled, p99', ofBusy),
    { target: 4, name: 'event-loop lag, p99', value: lag, unit: 'ms', max: 25, note: `at ${rate} mails/s` },
  ]
}

/** Since it was last read. */
async function lagMs(instance: Instance): Promise<number> {
  return (await instance.metrics())(LAG) * 1_000 - LOOP_TICK_MS
}

async function p99s(
  world: World,
  users: readonly string[],
  size: Size,
  signal: AbortSignal,
): Promise<Undisturbed<number>> {
  const window = async (): Promise<number> => percentile(await asked(world, users, size.windowMs, signal), 0.99)
  return await undisturbed(size, window)
}

/** Asks at fixed moments, whether or not the answers before have come. @returns ms of each */
async function asked(
  { nc }: World,
  users: readonly string[],
  windowMs: number,
  signal: AbortSignal,
): Promise<number[]> {
  const answers: Promise<number>[] = []
  const from = performance.now()
  for (let i = 0; i * EVERY_MS < windowMs; i++) {
    await sleep(Math.max(0, from + i * EVERY_MS - performance.now()), undefined, { signal })
    const answer = ask(nc, users[i % users.length] ?? '')
    // It is thrown below, when all have been asked.
    answer.catch(() => undefined)
    answers.push(answer)
  }
  return await orStopped(Promise.all(answers), signal)
}

async function ask(nc: World['nc'], asUser: string): Promise<number> {
  const from = performance.now()
  await requestOperation(nc, 'status', { asUser, body: {}, requestId: 'bench' })
  return performance.now() - from
}
