/**
 * What the benchmark of the fleet measures, one step after another. Each step leaves the fleet as it found it: complete,
 * balanced, every user worked for.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE } from '#shared/subjects.ts'
import { desiredOwner } from '../../../services/mail/owner/share.ts'
import { lastSeqOfBucket } from '../../mail/acceptance/support.ts'
import { until } from '../../support/until.ts'
import { percentile } from '../kit/statistics.ts'
import { type Figure, percent, seconds, spread } from './figures.ts'
import { type Fleet, SILENCE_MS } from './fleet.ts'
import { lateness, pollsAround, type UserPolls } from './polls.ts'

const KILL_TARGET_MS = SILENCE_MS + 2_000
const TERM_TARGET_MS = 1_000
const JOIN_TARGET_MS = 3_000
const MOVED_SLACK = 0.05
const IDLE_WINDOW_MS = 20_000
const QUIET_MS = 3_000
const MOVE_DEADLINE_MS = 60_000

/** Waits until every user is owned where the hash says. */
export const balanced = (fleet: Fleet): Promise<void> => {
  const names = fleet.watch.liveNames
  const wanted = new Map(fleet.users.map((user) => [user, desiredOwner(user, names)]))
  return fleet.watch.settled(fleet.users, (name, user) => wanted.get(user) === name, MOVE_DEADLINE_MS)
}

/** Sends the signal; answers when, on the clock of `performance.now()`. */
export function strike(fleet: Fleet, name: string, signal: NodeJS.Signals): number {
  const from = performance.now()
  fleet.instance(name).child.kill(signal)
  return from
}

/** Times in ms: from the blow until the user is owned again, and by how much its next poll was late. */
type Moved = { owned: number[]; late: number[] }

/**
 * What the users of the instance felt of the blow, which answers when it fell. Returns when each of them was polled by its
 * new owner.
 */
export async function moveAway(fleet: Fleet, name: string, blow: () => number | Promise<number>): Promise<Moved> {
  const sid = fleet.watch.sidOf(name)
  const users = fleet.watch.usersOf(name)
  const from = await blow()
  await fleet.watch.settled(users, (_name, user) => fleet.watch.users.get(user)?.owner !== sid, MOVE_DEADLINE_MS)
  const owned = users.map((user) => ownedMs(fleet, user) - from)
  return { owned, late: await latePolls(fleet, users) }
}

const ownedMs = (fleet: Fleet, user: string): number => fleet.watch.users.get(user)?.ownedMs ?? Number.POSITIVE_INFINITY

/** Waits until each of the users was polled by its owner. */
export async function polled(fleet: Fleet, users: readonly string[]): Promise<Map<string, UserPolls>> {
  return until(
    'each user is polled by its owner',
    () => {
      const all = pollsAround(fleet, users)
      return [...all.values()].every(({ first }) => Number.isFinite(first)) ? all : null
    },
    { timeoutMs: fleet.syncMs + MOVE_DEADLINE_MS, everyMs: 500 },
  )
}

const latePolls = async (fleet: Fleet, users: readonly string[]): Promise<number[]> =>
  lateness((await polled(fleet, users)).values(), fleet.syncMs)

/** Starts the instance, on the data that it had, and waits until it has its share and everybody is worked for. */
export async function comeBack(fleet: Fleet, name: string): Promise<void> {
  await fleet.spawn(name)
  await until(`${name} is back`, () => fleet.watch.liveNames.includes(name))
  await balanced(fleet)
  await polled(fleet, fleet.users)
}

const atMost = (name: string, times: readonly number[], part: number, targetMs: number): Figure => ({
  name,
  value: spread(times),
  target: `${part === 1 ? 'max' : `p${part * 100}`} ≤ ${seconds(targetMs)}`,
  met: percentile(times, part) <= targetMs,
})

export async function killed(fleet: Fleet, name: string): Promise<Figure[]> {
  const { owned, late } = await moveAway(fleet, name, () => strike(fleet, name, 'SIGKILL'))
  await comeBack(fleet, name)
  return [
    atMost(`kill -9, ${owned.length} users owned again`, owned, 0.99, KILL_TARGET_MS),
    atMost('kill -9, next poll late by', late, 0.99, KILL_TARGET_MS),
  ]
}

export async function terminated(fleet: Fleet, name: string): Promise<Figure[]> {
  const instance = fleet.instance(name)
  // Who looks on costs as much as one of those who are measured, and the server has noted when each lease came.
  let code: number | null = null
  const { owned, late } = await moveAway(fleet, name, async () => {
    await fleet.watch.suspend()
    const from = strike(fleet, name, 'SIGTERM')
    code = await instance.exited
    await fleet.watch.resume()
    return from
  })
  await comeBack(fleet, name)
  return [
    atMost(`SIGTERM, ${owned.length} users owned again`, owned, 0.99, TERM_TARGET_MS),
    atMost('SIGTERM, next poll late by', late, 0.99, TERM_TARGET_MS),
    { name: 'SIGTERM, exit code', value: String(code), target: '0', met: code === 0 },
  ]
}

export async function joined(fleet: Fleet, name: string): Promise<Figure[]> {
  const before = new Map(fleet.users.map((user) => [user, fleet.watch.users.get(user)?.owner]))
  await fleet.spawn(name)
  await until(`${name} has joined`, () => fleet.watch.liveNames.includes(name), { everyMs: 1 })
  const from = fleet.watch.sessions.get(fleet.watch.sidOf(name))?.seenMs ?? 0
  await balanced(fleet)
  const moved = fleet.users.filter((user) => fleet.watch.users.get(user)?.owner !== before.get(user))
  const owned = moved.map((user) => ownedMs(fleet, user) - from)
  const part = moved.length / fleet.users.length
  const most = 1 / fleet.watch.liveNames.length + MOVED_SLACK
  return [
    atMost('one more joins, until balanced', owned, 1, JOIN_TARGET_MS),
    atMost('one more joins, next poll late by', await latePolls(fleet, moved), 1, JOIN_TARGET_MS),
    {
      name: 'one more joins, users moved',
      value: `${moved.length} = ${percent(part)}`,
      target: `≤ ${percent(most)}`,
      met: part <= most,
    },
  ]
}

async function kvWrites(fleet: Fleet): Promise<number> {
  let writes = 0
  for (const bucket of [BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE])
    writes += await lastSeqOfBucket(fleet.ops, bucket)
  return writes
}

/** Writes per second to all buckets while nothing happens but polls. */
export async function idleWrites(fleet: Fleet): Promise<number> {
  await until(
    'nothing is written but heartbeats',
    async () => {
      const before = await lastSeqOfBucket(fleet.ops, BUCKET_STATE)
      await sleep(QUIET_MS)
      return (await lastSeqOfBucket(fleet.ops, BUCKET_STATE)) === before
    },
    { timeoutMs: MOVE_DEADLINE_MS },
  )
  const before = await kvWrites(fleet)
  const from = performance.now()
  await sleep(IDLE_WINDOW_MS)
  return ((await kvWrites(fleet)) - before) / ((performance.now() - from) / 1_000)
}

/** Half a write per second is what one heartbeat more or less in the window makes. */
export const idleFigure = (few: number, fewUsers: number, many: number, manyUsers: number): Figure => ({
  name: 'idle KV writes per second',
  value: `${few.toFixed(2)} at ${fewUsers} users · ${many.toFixed(2)} at ${manyUsers} users`,
  target: 'no growth with the users',
  met: many <= few + 0.5,
})

/** One new mail for everybody, and then the books. */
export async function ledgerFigures(fleet: Fleet, patienceMs: number): Promise<Figure[]> {
  const stuck = await fleet.deliverToAll(patienceMs)
  const { lost, twice, wrong, sent } = await fleet.box.ledger(fleet.ops)
  const zero = (name: string, count: number): Figure => ({ name, value: String(count), target: '0', met: count === 0 })
  const silent = await fleet.watch.silent(fleet.users)
  return [
    zero('users whose owner does not answer for them', silent.length),
    zero(`ledger of ${sent} mails: lost`, lost.length),
    zero('ledger: twice', twice.length),
    zero('ledger: never an event', wrong.length),
    zero('stuck after a new mail for everybody', stuck),
  ]
}
