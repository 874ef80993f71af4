/** Target 4: how long a status takes while two mailboxes are backfilled as fast as the instance can, against an idle instance. */
import { setTimeout as sleep } from 'node:timers/promises'
import { requestOperation } from '#shared/control-client.ts'
import { EVENT_SUBJECT_ALL, type ProviderName } from '#shared/subjects.ts'
import { connectWith } from '../../mail/acceptance/support.ts'
import { until } from '../../support/until.ts'
import type { Figure } from '../kit/figure.ts'
import { NO_QUOTA } from '../kit/no-quota.ts'
import type { BenchOptions } from '../kit/options.ts'
import { percentile } from '../kit/statistics.ts'
import { BenchProvider } from '../provider/provider.ts'
import { credentialsOf } from './accounts.ts'
import { type Instance, World } from './world.ts'

const FULL = { windowMs: 60_000 }
const QUICK = { windowMs: 6_000 }
const EVERY_MS = 10
const BUSY: readonly { user: string; provider: ProviderName }[] = [
  { user: 'gmail', provider: 'google' },
  { user: 'outlook', provider: 'microsoft' },
]
/** More than is fetched while anybody looks. */
const MANY = 5_000_000
/** Both are far in the middle of it by then. */
const UNDER_WAY = 2_000
/** What the process measures is the distance of two ticks, which is this when nothing is late. */
const TICK_MS = 10
const LAG = 'mailsync_nodejs_eventloop_lag_p99_seconds'

export async function measure({ quick, say, signal }: BenchOptions): Promise<Figure[]> {
  const { windowMs } = quick ? QUICK : FULL
  await using provider = await BenchProvider.start(signal)
  await using world = await World.start({ env: { ...NO_QUOTA, ...provider.env } })
  const { box, nc } = world
  const instance = await world.spawn('a')
  await connectWith(nc, 'quiet', 'google', credentialsOf('quiet', 0))
  await box.allLive(nc, ['quiet'])
  const idle = await asked(world, ['quiet'], windowMs, signal)
  let events = 0
  const subscription = nc.subscribe(EVENT_SUBJECT_ALL, { callback: () => void events++ })
  for (const { user, provider: name } of BUSY) await connectWith(nc, user, name, credentialsOf(user, MANY))
  await until('both backfills are under way', () => events > UNDER_WAY, { timeoutMs: 60_000, signal })
  await lagMs(instance)
  const before = events
  const busy = await asked(world, ['quiet', ...BUSY.map(({ user }) => user)], windowMs, signal)
  const lag = await lagMs(instance)
  const rate = Math.round((events - before) / (windowMs / 1_000))
  subscription.unsubscribe()
  say(`status: ${rate} mails/s while it was asked`)
  const [idleP99, busyP99] = [percentile(idle, 0.99), percentile(busy, 0.99)]
  return [
    { target: 4, name: 'status, idle, p99', value: idleP99, unit: 'ms', samples: idle },
    { target: 4, name: 'status during two backfills, p99', value: busyP99, unit: 'ms', max: 25, samples: busy },
    { target: 4, name: 'status during two backfills, p99', value: busyP99 / idleP99, unit: 'of idle', max: 3 },
    { target: 4, name: 'event-loop lag, p99', value: lag, unit: 'ms', max: 25, note: `at ${rate} mails/s` },
  ]
}

/** Since it was last read. */
async function lagMs(instance: Instance): Promise<number> {
  return (await instance.metrics())(LAG) * 1_000 - TICK_MS
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
    answers.push(ask(nc, users[i % users.length] ?? ''))
  }
  return Promise.all(answers)
}

async function ask(nc: World['nc'], asUser: string): Promise<number> {
  const from = performance.now()
  await requestOperation(nc, 'status', { asUser, body: {}, requestId: 'bench' })
  return performance.now() - from
}
