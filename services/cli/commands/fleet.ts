/** mailctl fleet: what each instance says of itself, the sessions that they see and that do not answer, and the sums. */
import type { Command } from 'commander'
import { ACCOUNT_STATES } from '#shared/contract.ts'
import type { FleetReply, SeenSession } from '#shared/fleet.ts'
import { fleetOf } from '#shared/service-view.ts'
import { type Cli, CliFailure, type Start } from '../cli.ts'
import { duration, plain, table } from '../output.ts'

const WAIT_MS = 3_000
const COMMIT_CHARS = 12

/** A session that others see and that did not answer. */
type Absent = SeenSession & {
  /** Names of the instances that see it. */
  seen_by: string[]
  /** The instance answers, under another session. */
  runs_again: boolean
}
type Counts = Record<string, number>
type Totals = Pick<
  FleetReply,
  'users' | 'accounts' | 'outbox_pending' | 'rates' | 'zombie_writes_refused' | 'takeovers'
>

export function addFleet(program: Command, start: Start): void {
  program
    .command('fleet')
    .description('show all instances: users, rates, lag, refused writes, and sessions that do not answer')
    .action(
      start([], async (cli: Cli) => {
        const instances = (await fleetOf(await cli.nats(), WAIT_MS)).toSorted(byInstance)
        if (instances.length === 0) throw new CliFailure('no mail-sync instance answers: start one with "npm start"')
        const [absent, totals] = [absentOf(instances), totalsOf(instances)]
        cli.out.data({ instances, absent, totals })
        for (const line of linesOf(instances, absent, totals)) cli.out.line(line)
      }),
    )
}

/** How far gone a session is. */
const GONE = { live: 0, draining: 1, dead: 2 } as const

/** Of what the instances say of one session the worst is believed: the most gone, and the longest silence. */
function absentOf(instances: FleetReply[]): Absent[] {
  const answering = new Set(instances.map(({ sid }) => sid))
  const names = new Set(instances.map(({ instance }) => instance))
  const absent = new Map<string, Absent>()
  for (const one of instances)
    for (const session of one.sessions) {
      if (answering.has(session.sid)) continue
      const known = absent.get(session.sid)
      absent.set(session.sid, {
        ...session,
        state: known !== undefined && GONE[known.state] > GONE[session.state] ? known.state : session.state,
        silent_ms: Math.max(session.silent_ms, known?.silent_ms ?? 0),
        seen_by: [...(known?.seen_by ?? []), one.instance],
        runs_again: names.has(session.instance),
      })
    }
  return [...absent.values()].toSorted(byInstance)
}

function totalsOf(instances: FleetReply[]): Totals {
  const sum = (pick: (one: FleetReply) => number): number => instances.reduce((total, one) => total + pick(one), 0)
  const sums = (pick: (one: FleetReply) => Counts): Counts => {
    const keys = new Set(instances.flatMap((one) => Object.keys(pick(one))))
    return Object.fromEntries([...keys].map((key) => [key, sum((one) => pick(one)[key] ?? 0)]))
  }
  return {
    users: sum(({ users }) => users),
    accounts: sums(({ accounts }) => accounts),
    outbox_pending: sum((one) => one.outbox_pending),
    rates: {
      mails_stored_per_s: tenths(sum(({ rates }) => rates.mails_stored_per_s)),
      events_published_per_s: tenths(sum(({ rates }) => rates.events_published_per_s)),
    },
    zombie_writes_refused: sums((one) => one.zombie_writes_refused),
    takeovers: sums(({ takeovers }) => takeovers),
  }
}

function linesOf(instances: FleetReply[], absent: Absent[], totals: Totals): string[] {
  const leftOut = Math.max(...instances.map((one) => one.sessions_left_out ?? 0))
  return [
    `${instances.length} instance(s) answer; sessions that do not: ${absentCounts(absent)}`,
    ...(leftOut === 0 ? [] : [`  ${leftOut} older session(s) are not shown`]),
    ...table([
      ['  instance', 'state', 'up', ...WORK, 'lag p50', 'p99', 'max', 'version', 'node', 'commit'],
      ...instances.map((one) => [
        `  ${plain(one.instance)}`,
        plain([one.state, one.disk_fault, one.blind === true ? 'blind' : null].filter(Boolean).join(' ')),
        duration(one.uptime_s),
        ...workOf(one),
        ...[one.event_loop_lag_ms.p50, one.event_loop_lag_ms.p99, one.event_loop_lag_ms.max].map(milliseconds),
        plain(one.version),
        plain(one.node),
        plain(one.commit.slice(0, COMMIT_CHARS)),
      ]),
      ['  all', '', '', ...workOf(totals), '', '', '', '', '', ''],
    ]),
    ...(absent.length === 0 ? [] : absentLines(absent)),
  ]
}

const WORK = ['users', 'accounts', 'outbox', 'stored/s', 'events/s', 'refused', 'take-overs']
const workOf = (of: Totals): string[] => [
  String(of.users),
  listOf(of.accounts, ACCOUNT_STATES),
  String(of.outbox_pending),
  of.rates.mails_stored_per_s.toFixed(1),
  of.rates.events_published_per_s.toFixed(1),
  listOf(of.zombie_writes_refused),
  listOf(of.takeovers),
]

/** One that drains answers no more, and that is right. */
const shownState = ({ state }: Absent): string => (state === 'live' ? 'silent' : state)

function absentCounts(absent: Absent[]): string {
  const count = (shown: string): number => absent.filter((one) => shownState(one) === shown).length
  const draining = count('draining')
  return `${count('silent')} silent, ${draining === 0 ? '' : `${draining} draining, `}${count('dead')} dead`
}

const absentLines = (absent: Absent[]): string[] =>
  table([
    ['  silent or dead', 'session', 'state', 'for', 'seen by', ''],
    ...absent.map((one) => [
      `  ${plain(one.instance)}`,
      plain(one.sid),
      shownState(one),
      duration(one.silent_ms / 1000),
      plain(one.seen_by.join(', ')),
      one.runs_again ? 'runs again' : '',
    ]),
  ])

/** `live 10, backfilling 2`, without what is 0. */
function listOf(counts: Counts, order: readonly string[] = []): string {
  const rank = (key: string): number => (order.includes(key) ? order.indexOf(key) : order.length)
  const shown = Object.entries(counts).filter(([, count]) => count > 0)
  const sorted = shown.toSorted(([a], [b]) => rank(a) - rank(b))
  return sorted.length === 0 ? '-' : sorted.map(([key, count]) => `${plain(key)} ${count}`).join(', ')
}

const tenths = (value: number): number => Math.round(value * 10) / 10

const milliseconds = (ms: number): string => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`

/** Two sessions may have one name for a moment. */
function byInstance(a: { instance: string; sid: string | null }, b: { instance: string; sid: string | null }): number {
  const order = a.instance === b.instance ? (a.sid ?? '') < (b.sid ?? '') : a.instance < b.instance
  return order ? -1 : 1
}
