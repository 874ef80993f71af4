/**
 * The half of target 9 that needs ten thousand users: how they go on after a restart. And target 2: the same users, to whom
 * nothing happens, polled by the instance that was started. They are at rest then, as all are to whom nothing has happened for
 * ten minutes.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { CONNECTIONS_MAX } from '../../../services/mail/base/http.ts'
import { firstMomentMs, slotOf } from '../../../services/mail/base/slot.ts'
import { MAX_HANDLES } from '../../../services/mail/store/user-store.ts'
import { until } from '../../support/until.ts'
import type { Figure } from '../kit/figure.ts'
import { INSPECTED, Inspector } from '../kit/inspector.ts'
import type { BenchOptions } from '../kit/options.ts'
import { median, oddAgainstEven, percentile, pieces } from '../kit/statistics.ts'
import { ended, orStopped } from '../kit/stop.ts'
import { medianOf, type Undisturbed, undisturbed, type Windows } from '../kit/undisturbed.ts'
import { cpuMs, type Usage, usageOf } from '../kit/usage.ts'
import { type Connected, writeAccounts } from './accounts.ts'
import { latenessOf } from './polls.ts'
import { ALL_EVENTS, type Instance, World } from './world.ts'

type Size = Windows & { few: readonly number[]; users: number; intervalMs: number; windowMs: number }
const FULL: Size = { few: [1_000, 4_000], users: 10_000, intervalMs: 30_000, windowMs: 15_000, windows: 7, again: true }
/** Half as many polls a second, of fewer users. */
const QUICK: Size = { few: [40], users: 160, intervalMs: 1_000, windowMs: 2_000, windows: 2, again: false }

const POLL = 'gmail.history.list'
const LIVE_DEADLINE_MS = 1_800_000
/** So long after the end of the windows a poll may still come that was due in them. */
const GRACE_MS = 500
/** All polls of twice as many windows, and as many other requests. */
const LOG_MOST = 200_000
/** Three files for each database that stays open; connections to the provider; and what the program has open by itself. */
const FILES_MAX = MAX_HANDLES * 3 + CONNECTIONS_MAX + 64

export async function measure(options: BenchOptions): Promise<Figure[]> {
  const size = options.quick ? QUICK : FULL
  const env = { MAIL_SYNC_INTERVAL_MS: String(size.intervalMs) }
  await using world = await World.start({ env, simulator: { logMost: LOG_MOST } })
  const figures: Figure[] = []
  const held: { users: number; bytes: number }[] = []
  let instance: Instance | null = null
  for (const users of [...size.few, size.users]) {
    await connect(world, held.at(-1)?.users ?? 0, users, options.signal)
    instance ??= await world.spawn('a', INSPECTED)
    await settled(instance, users, size, options)
    const restarted = await restart(world, instance, { ...size, users }, options)
    instance = restarted.instance
    await settled(instance, users, size, options)
    held.push({ users, bytes: await heldBytes(instance) })
    options.say(`idle: ${users} users hold ${((held.at(-1)?.bytes ?? 0) / 2 ** 20).toFixed(1)} MB`)
    const isMost = users === size.users
    if (isMost) figures.push(...restarted.figures)
    // Fewer users are shown and not judged.
    const windows = isMost ? size.windows : Math.floor((size.windows + 1) / 2)
    const again = isMost && size.again
    const found = await polled(world, instance, { ...size, users, windows, again }, options.signal)
    figures.push(...coresOf(users, found, isMost), ...(isMost ? polledFigures(size, found) : []))
  }
  if (instance === null) throw new Error('nobody was measured')
  return [
    ...figures,
    memoryFigure(held, options),
    { target: 2, name: 'open files', value: instance.openFiles, unit: 'files', max: FILES_MAX },
  ]
}

/** The databases that stay open are more than the few users of the short form have. */
function memoryFigure(held: readonly { users: number; bytes: number }[], { quick }: BenchOptions): Figure {
  const [few, many] = [held.at(0), held.at(-1)]
  const value = ((many?.bytes ?? 0) - (few?.bytes ?? 0)) / ((many?.users ?? 0) - (few?.users ?? 0)) / 1_024
  const note = `${many?.users} users less ${few?.users}`
  return { target: 2, name: 'memory of an idle user', value, unit: 'KB', note, ...(quick ? {} : { max: 5 }) }
}

/** Empty mailboxes: that there is no mail makes no poll cheaper, and the beginning is quicker. */
function connect({ box, nc }: World, from: number, to: number, signal: AbortSignal): Promise<void> {
  const users = Array.from({ length: to - from }, (_, i): Connected => {
    const userId = `user${from + i}`
    const spec = { user: box.simUser(userId), provider: 'google', n: 0, folders: [], mix: ALL_EVENTS } as const
    return { userId, provider: 'google', credentials: box.sim.addMailbox(spec) }
  })
  return orStopped(writeAccounts(box, nc, users), signal)
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
  using inspector = await Inspector.of(instance.process)
  await inspector.collectGarbage()
  return instance.rssBytes
}

type Window = Usage<'service' | 'broker' | 'provider'> & { polls: number }
type Span = Usage<'service' | 'broker' | 'provider'> & { fromMs: number; toMs: number }
/** What polls did or how late they were is of all windows, also of those that were disturbed and do not count in the CPU. */
type Found = { windows: Undisturbed<Window>; late: number[]; opens: number; commits: number }

/** Windows in which nothing happens but polls. */
async function polled(world: World, instance: Instance, size: Size, signal: AbortSignal): Promise<Found> {
  const before = await workOf(instance)
  const from = Date.now()
  const spans = await undisturbed(size, async (): Promise<Span> => {
    const fromMs = Date.now()
    const used = usageOf({ service: instance.pid, broker: world.server.pid, provider: process.pid })
    await sleep(size.windowMs, undefined, { signal })
    return { ...used(), fromMs, toMs: Date.now() }
  })
  const to = Date.now()
  await sleep(GRACE_MS, undefined, { signal })
  const after = await workOf(instance)
  const polls = pollsOf(world, from - size.intervalMs)
  const windowOf = ({ fromMs, toMs, ...usage }: Span): Window => ({
    ...usage,
    polls: polls.filter(({ atMs }) => atMs >= fromMs && atMs < toMs).length,
  })
  return {
    windows: { values: spans.values.map(windowOf), all: spans.all.map(windowOf) },
    late: latenessOf(polls, {
      moments: momentsOf(world, size),
      ...{ intervalMs: size.intervalMs, fromMs: from, toMs: to },
    }),
    opens: after.opens - before.opens,
    commits: after.commits - before.commits,
  }
}

const pollsOf = ({ box }: World, fromMs: number): { user: string; atMs: number }[] =>
  box.sim
    .logSince(fromMs)
    .flatMap(({ route, mailbox, t }) => (route === POLL && mailbox !== null ? [{ user: mailbox, atMs: t }] : []))

/** When in each interval each user is polled, by its name at the simulator. */
const momentsOf = ({ box }: World, { users, intervalMs }: Size): Map<string, number> =>
  new Map(
    Array.from({ length: users }, (_, i) => {
      const user = `user${i}`
      return [box.simUser(user), firstMomentMs(slotOf(user), { intervalMs, intervalMaxMs: intervalMs })]
    }),
  )

/** What the picture shows. Only the service at the most users is judged. */
function coresOf(users: number, { windows }: Found, isMost: boolean): Figure[] {
  const of = (series: string, name: keyof Window['cpuMs']): Figure => {
    const found = medianOf(windows, ({ cpuMs, wallMs }) => (100 * cpuMs[name]) / wallMs)
    const where = { at: users, series, ...found }
    return { target: 2, name: `${users.toLocaleString('en')} idle users, ${series}`, unit: '% of a core', ...where }
  }
  return [
    { ...of('service', 'service'), ...(isMost && { max: 10, stretch: 6 }) },
    of('nats-server', 'broker'),
    of('provider and benchmark', 'provider'),
  ]
}

function polledFigures({ intervalMs, windows: count }: Size, { windows, late, opens, commits }: Found): Figure[] {
  const note = `${late.length} polls, one every ${intervalMs / 1_000} s of each user`
  const costs = medianOf(windows, ({ cpuMs, polls }) => (cpuMs.service * 1_000) / polls)
  const seen = late.filter((ms) => ms < intervalMs).length / late.length
  const p99 = pieces(late, count).map((piece) => percentile(piece, 0.99))
  const of = { target: 2, unit: 'ms' }
  return [
    { target: 2, name: 'CPU of a poll', unit: 'µs', ...costs },
    { target: 2, name: 'CPU of a poll, A/A', value: oddAgainstEven(costs.rounds), unit: 'times' },
    { target: 2, name: 'polls before the next one was due', value: seen, unit: 'of those due', min: 0.99, note },
    { target: 2, name: 'databases opened by polls', value: opens, unit: '', max: 0, note },
    { target: 2, name: 'writes to databases by polls', value: commits, unit: '', max: 0, note },
    { ...of, name: 'start of a poll, late by, p99', value: median(p99), max: 25, rounds: p99 },
    { ...of, name: 'start of a poll, late by, the latest', value: percentile(late, 1) },
  ]
}

/** Stopped in order and started again: from exec until the last user was polled, and what that took. */
async function restart(
  world: World,
  instance: Instance,
  size: Size,
  options: BenchOptions,
): Promise<{ instance: Instance; figures: Figure[] }> {
  const { say, signal, quick } = options
  await ended(instance.process, signal)
  const stoppedMs = Date.now()
  const started = await world.spawn('a', INSPECTED)
  const execMs = Date.now() - (performance.now() - started.process.spawnedMs)
  const all = (): Map<string, number> | null => {
    const first = new Map<string, number>()
    for (const { user, atMs } of pollsOf(world, stoppedMs)) if (!first.has(user)) first.set(user, atMs)
    return first.size === size.users ? first : null
  }
  const timeoutMs = 20 * size.intervalMs
  const first = await until('each user is polled again', all, { timeoutMs, everyMs: 250, signal })
  const usedMs = cpuMs(started.pid)
  const tookMs = Math.max(...first.values()) - execMs
  say(`start: ${size.users} users are polled again`)
  // The interval of the short form is not much longer than the start of a process.
  const bounds = quick ? [{}, {}] : [{ max: 1 }, { max: 50 }]
  const note = `${size.users.toLocaleString('en')} users, ${(tookMs / 1_000).toFixed(1)} s after exec`
  const of = { target: 9, note }
  const figures = [
    { ...of, name: 'restart: last user polled', value: tookMs / size.intervalMs, unit: 'poll periods', ...bounds[0] },
    { ...of, name: 'restart: CPU until then', value: (100 * usedMs) / tookMs, unit: '% of a core', ...bounds[1] },
  ]
  return { instance: started, figures }
}
