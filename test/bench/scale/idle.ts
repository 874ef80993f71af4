/**
 * Target 2: users to whom nothing happens, polled by one instance. And the half of target 9 that needs the same ten thousand
 * users: how they go on after a restart.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { slotOf } from '../../../services/mail/base/slot.ts'
import { until } from '../../support/until.ts'
import type { Figure } from '../kit/figure.ts'
import type { BenchOptions } from '../kit/options.ts'
import { percentile } from '../kit/statistics.ts'
import { cpuMs, usageOf } from '../kit/usage.ts'
import { type Connected, writeAccounts } from './accounts.ts'
import { collectGarbage, INSPECTED } from './inspector.ts'
import { ALL_EVENTS, type Instance, World } from './world.ts'

type Size = { few: number; users: number; intervalMs: number; windowMs: number }
const FULL: Size = { few: 1_000, users: 10_000, intervalMs: 30_000, windowMs: 120_000 }
/** As many polls a second, of fewer users. */
const QUICK: Size = { few: 100, users: 400, intervalMs: 1_200, windowMs: 9_600 }

const POLL = 'gmail.history.list'
const LIVE_DEADLINE_MS = 1_800_000
/** Databases that stay open, three files each; connections to the provider; and what the program has open by itself. */
const FILES_MAX = 256 * 3 + 256 + 64

export async function measure(options: BenchOptions): Promise<Figure[]> {
  const size = options.quick ? QUICK : FULL
  const { say, signal } = options
  const interval = String(size.intervalMs)
  await using world = await World.start({ env: { MAIL_SYNC_INTERVAL_MS: interval } })
  await connect(world, 0, size.few)
  const instance = await world.spawn('a', INSPECTED)
  await settled(instance, size.few, size, options)
  const fewBytes = await heldBytes(instance)
  say(`idle: ${size.few} users hold ${megabytes(fewBytes)}`)
  const few = coresOf(size.few, size, (await polled(world, instance, size.few, size, signal)).share)
  await connect(world, size.few, size.users)
  await settled(instance, size.users, size, options)
  const manyBytes = await heldBytes(instance)
  say(`idle: ${size.users} users hold ${megabytes(manyBytes)}`)
  const memory = (manyBytes - fewBytes) / (size.users - size.few) / 1_024
  return [
    ...few,
    ...polledFigures(size, await polled(world, instance, size.users, size, signal)),
    // The databases that stay open are more than a few users.
    { target: 2, name: 'memory of an idle user', value: memory, unit: 'KB', ...(options.quick ? {} : { max: 5 }) },
    { target: 2, name: 'open files', value: instance.openFiles, unit: 'files', max: FILES_MAX },
    ...(await resumed(world, instance, size, options)),
  ]
}

const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MB`

/** Empty mailboxes: that there is no mail makes no poll cheaper, and the beginning is quicker. */
function connect({ box, nc }: World, from: number, to: number): Promise<void> {
  const users = Array.from({ length: to - from }, (_, i): Connected => {
    const userId = `user${from + i}`
    const spec = { user: box.simUser(userId), provider: 'google', n: 0, folders: [], mix: ALL_EVENTS } as const
    return { userId, provider: 'google', credentials: box.sim.addMailbox(spec) }
  })
  return writeAccounts(box, nc, users)
}

/** Waits until all users are live and nothing but polls has happened for an interval. */
async function settled(
  instance: Instance,
  users: number,
  { intervalMs }: Size,
  { say, signal }: BenchOptions,
): Promise<void> {
  let saidMs = performance.now()
  const areLive = async (): Promise<boolean> => {
    const live = (await instance.metrics())('mailsync_accounts{state="live"}', 0)
    if (performance.now() - saidMs > 30_000) {
      saidMs = performance.now()
      say(`idle: ${live} of ${users} users are live`)
    }
    return live === users
  }
  await until(`${users} users are live`, areLive, { timeoutMs: LIVE_DEADLINE_MS, everyMs: 1_000, signal })
  let before = await workOf(instance)
  const isQuiet = async (): Promise<boolean> => {
    await sleep(intervalMs, undefined, { signal })
    const now = await workOf(instance)
    const isSame = now.opens === before.opens && now.commits === before.commits
    before = now
    return isSame
  }
  await until('nothing is written any more', isQuiet, { timeoutMs: LIVE_DEADLINE_MS, everyMs: 1, signal })
}

async function workOf(instance: Instance): Promise<{ opens: number; commits: number }> {
  const sample = await instance.metrics()
  return { opens: sample('mailsync_database_opens_total'), commits: sample('mailsync_database_commits_total') }
}

async function heldBytes(instance: Instance): Promise<number> {
  await collectGarbage(instance.process)
  return instance.rssBytes
}

type Share = { service: number; broker: number; provider: number }
type Polled = { share: Share; late: number[]; cpuUs: number; due: number; opens: number; commits: number }

/** A window in which nothing happens but polls. */
async function polled(
  world: World,
  instance: Instance,
  users: number,
  { windowMs, intervalMs }: Size,
  signal: AbortSignal,
): Promise<Polled> {
  const before = await workOf(instance)
  const fromMs = Date.now()
  const used = usageOf({ service: instance.pid, broker: world.server.pid, provider: process.pid })
  await sleep(windowMs, undefined, { signal })
  const { wallMs, cpuMs: cpu } = used()
  const toMs = Date.now()
  const after = await workOf(instance)
  const late = latenessOf(world, users, intervalMs, fromMs, toMs)
  const percent = (ms: number): number => (100 * ms) / wallMs
  return {
    share: { service: percent(cpu.service), broker: percent(cpu.broker), provider: percent(cpu.provider) },
    late,
    cpuUs: (cpu.service * 1_000) / late.length,
    due: (users * wallMs) / intervalMs,
    opens: after.opens - before.opens,
    commits: after.commits - before.commits,
  }
}

/** What the picture shows. Only the service at the most users is judged. */
function coresOf(users: number, { intervalMs, users: most }: Size, { service, broker, provider }: Share): Figure[] {
  const note = `a poll every ${intervalMs / 1_000} s`
  const of = (series: string, value: number): Figure => ({
    ...{ target: 2, name: `${users} idle users, ${series}`, value, unit: '% of a core', at: users, series },
  })
  return [
    { ...of('service', service), note, ...(users === most ? { max: 10 } : {}) },
    of('nats-server', broker),
    of('provider and benchmark', provider),
  ]
}

function polledFigures(size: Size, { share, late, cpuUs, due, opens, commits }: Polled): Figure[] {
  const polls = `${late.length} polls`
  return [
    ...coresOf(size.users, size, share),
    { target: 2, name: 'CPU of a poll', value: cpuUs, unit: 'µs' },
    { target: 2, name: 'polls seen', value: late.length / due, unit: 'of those due', note: polls },
    { target: 2, name: 'databases opened by polls', value: opens, unit: '', max: 0, note: polls },
    { target: 2, name: 'writes to databases by polls', value: commits, unit: '', max: 0, note: polls },
    { target: 2, name: 'start of a poll, late by, p99', value: percentile(late, 0.99), unit: 'ms', max: 25 },
  ]
}

/** How much later than at the user's moment each poll of that time arrived at the provider, ms. */
function latenessOf({ box }: World, users: number, intervalMs: number, fromMs: number, toMs: number): number[] {
  const moments = new Map(
    Array.from({ length: users }, (_, i) => {
      const user = `user${i}`
      return [box.simUser(user), Math.floor(slotOf(user) * intervalMs)]
    }),
  )
  return box.sim
    .log()
    .filter(({ route, t }) => route === POLL && t >= fromMs && t < toMs)
    .map(({ mailbox, t }) => {
      const afterMs = (t - (moments.get(mailbox ?? '') ?? 0)) % intervalMs
      // One that came before its moment is none that came a whole interval after it.
      return afterMs > intervalMs / 2 ? afterMs - intervalMs : afterMs
    })
}

/** Stopped in order and started again: when the last user was polled, and what that took. */
async function resumed(world: World, instance: Instance, size: Size, { say, signal }: BenchOptions): Promise<Figure[]> {
  await instance.process.kill('SIGTERM')
  const stoppedMs = Date.now()
  const started = await world.spawn('a')
  const runsMs = Date.now()
  const seen = (): Map<string, number> => {
    const first = new Map<string, number>()
    for (const { route, mailbox, t } of world.box.sim.log())
      if (route === POLL && mailbox !== null && t >= stoppedMs && !first.has(mailbox)) first.set(mailbox, t)
    return first
  }
  const all = (): Map<string, number> | null => {
    const first = seen()
    return first.size === size.users ? first : null
  }
  const timeoutMs = 20 * size.intervalMs
  const first = await until('each user is polled again', all, { timeoutMs, everyMs: 250, signal })
  const usedMs = cpuMs(started.pid)
  const lastMs = Math.max(...first.values())
  say(`start: ${size.users} users are polled again`)
  const resumedMs = lastMs - runsMs
  return [
    {
      ...{ target: 9, name: 'restart: last user polled', value: resumedMs / size.intervalMs, unit: 'poll periods' },
      max: 1,
      note: `${size.users} users`,
    },
    {
      ...{
        target: 9,
        name: 'restart: CPU until then',
        value: (100 * usedMs) / (lastMs - stoppedMs),
        unit: '% of one core',
      },
      max: 50,
    },
  ]
}
