/**
 * Target 6: what a backfill takes of the quota of a new Google project, in virtual time with all of the service between the
 * client library and the database; and what it costs an instance to list a mailbox again of which it knows every mail.
 */
import { Box } from '../../catalogue/box.ts'
import { until } from '../../support/until.ts'
import type { Figure } from '../kit/figure.ts'
import type { BenchOptions } from '../kit/options.ts'
import { orStopped } from '../kit/stop.ts'
import { cpuMs } from '../kit/usage.ts'
import { ALL_EVENTS, World } from './world.ts'

const FULL = { mails: 5_000, known: 100_000 }
const QUICK = { mails: 600, known: 2_000 }

const UNITS = { perMs: 6_000 / 60_000, get: 20, list: 5, poll: 2 }
const PAGE = 500
/** A request to Google and back. */
const ANSWER_MS = 80
/** What was saved up before the first request is spent by then. */
const BEGINNING_MS = 60_000
const DEADLINE_MS = 1_800_000
/** What the simulator grants where nobody is measured against a quota; the service is told so. */
const FAST = { MAIL_GMAIL_UNITS_PER_MIN: '600000', MAIL_GMAIL_PROJECT_UNITS_PER_MIN: '60000000' }

export async function measure(options: BenchOptions): Promise<Figure[]> {
  const { mails, known } = options.quick ? QUICK : FULL
  return [...(await backfilled(mails, options.signal)), ...(await rescanned(known, options))]
}

async function backfilled(mails: number, signal: AbortSignal): Promise<Figure[]> {
  await using box = await Box.open('google', { n: mails, mix: ALL_EVENTS, latencyMs: () => ANSWER_MS })
  const fromMs = box.net.clock.wallMs()
  const isLive = (): boolean => {
    signal.throwIfAborted()
    return box.status().state === 'live'
  }
  await box.until('live', isLive, mails * 1_000)
  box.assertStored()
  const { overdraft, earlyRetries, mailboxes } = box.sim.ledger()
  const used = mailboxes['google:ada']?.total ?? Number.NaN
  const polls = box.requests('gmail.history.list').length
  const needed = UNITS.get * mails + UNITS.list * Math.ceil(mails / PAGE) + UNITS.poll * polls
  const lastMs = box.requests('gmail.messages.get').at(-1)?.t ?? 0
  const steady = box.sim.logSince(fromMs + BEGINNING_MS).filter(({ t }) => t < lastMs)
  const spent = steady.reduce((sum, { cost }) => sum + cost, 0)
  const allowed = UNITS.perMs * (lastMs - fromMs - BEGINNING_MS)
  const note = `${mails} mails in virtual time`
  return [
    { target: 6, name: 'units of a backfill', value: used / needed, unit: 'of those needed', max: 1.02, note },
    { target: 6, name: 'rate sustained', value: spent / allowed, unit: 'of that allowed', min: 0.95, note },
    { target: 6, name: 'overdrafts', value: overdraft, unit: 'units', max: 0 },
    { target: 6, name: 'early retries', value: earlyRetries, unit: 'requests', max: 0 },
  ]
}

/** Google forgets the position of a mailbox in which every mail is known. */
async function rescanned(mails: number, { say, signal, quick }: BenchOptions): Promise<Figure[]> {
  await using world = await World.start({ env: { ...FAST, MAIL_SYNC_INTERVAL_MS: '2000' } })
  const { box, nc } = world
  const instance = await world.spawn('a')
  await box.connect(nc, 'ada', 'google', { n: mails, folders: [], mix: ALL_EVENTS })
  say(`budget: ${mails} mails are fetched once`)
  await orStopped(box.allLive(nc, ['ada'], DEADLINE_MS), signal)
  const usedMs = cpuMs(instance.pid)
  const fromMs = Date.now()
  const since = (route: string): number => box.sim.logSince(fromMs).filter((entry) => entry.route === route).length
  const lists = Math.ceil(mails / PAGE)
  box.sim.faults.add({ match: { route: 'gmail.history.list' }, fault: { type: 'expireHistory' }, times: 1 })
  await until('the mailbox was listed again', () => since('gmail.messages.list') >= lists, {
    timeoutMs: DEADLINE_MS,
    everyMs: 50,
    signal,
  })
  await orStopped(box.allLive(nc, ['ada'], DEADLINE_MS), signal)
  const cpuS = (cpuMs(instance.pid) - usedMs) / 1_000
  const note = `${mails} known mails`
  return [
    { target: 6, name: 'rescan: list calls', value: since('gmail.messages.list'), unit: 'requests', max: lists, note },
    { target: 6, name: 'rescan: mails fetched', value: since('gmail.messages.get'), unit: 'requests', max: 0, note },
    { target: 6, name: 'rescan: CPU', value: cpuS, unit: 's', ...(quick ? {} : { max: 1 }), note },
  ]
}
