/**
 * What the benchmark of the fleet measures, one step after another. Each step leaves the fleet as it found it: complete,
 * balanced, every user worked for.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE } from '#shared/subjects.ts'
import { desiredOwner } from '../../../services/mail/owner/share.ts'
import { lastSeqOfBucket } from '../../mail/acceptance/support.ts'
import { until } from '../../support/until.ts'
import { type Figure, percent, percentile, seconds, spread } from './figures.ts'
import { type Fleet, SILENCE_MS } from './fleet.ts'

const KILL_TARGET_MS = SILENCE_MS + 2_000
const TERM_TARGET_MS = 1_000
const JOIN_TARGET_MS = 3_000
const MOVED_SLACK = 0.05
const IDLE_WINDOW_MS = 20_000
const QUIET_MS = 3_000
const MOVE_DEADLINE_MS = 60_000

/** Waits until every user works where the hash says. */
export const balanced = (fleet: Fleet): Promise<void> => {
  const names = fleet.watch.liveNames
  const wanted = new Map(fleet.users.map((user) => [user, desiredOwner(user, names)]))
  return fleet.watch.settled(fleet.users, (name, user) => wanted.get(user) === name, MOVE_DEADLINE_MS)
}

/** Times from the blow until each user of the instance is worked for elsewhere, in ms. */
export async function moveAway(fleet: Fleet, name: string, blow: () => void): Promise<number[]> {
  const sid = fleet.watch.sidOf(name)
  const users = fleet.watch.usersOf(name)
  const from = performance.now()
  blow()
  await fleet.watch.settled(users, (_name, user) => fleet.watch.users.get(user)?.owner !== sid, MOVE_DEADLINE_MS)
  return users.map((user) => (fleet.watch.users.get(user)?.workingMs ?? Number.POSITIVE_INFINITY) - from)
}

/** Starts the instance, on the data that it had, and waits until it has its share. */
export async function comeBack(fleet: Fleet, name: string): Promise<void> {
  await fleet.spawn(name)
  await until(`${name} is back`, () => fleet.watch.liveNames.includes(name))
  await balanced(fleet)
}

export async function killed(fleet: Fleet, name: string): Promise<Figure> {
  const times = await moveAway(fleet, name, () => fleet.instance(name).child.kill('SIGKILL'))
  await comeBack(fleet, name)
  return {
    name: `kill -9, ${times.length} users move`,
    value: spread(times),
    target: `p99 ≤ ${seconds(KILL_TARGET_MS)}`,
    met: percentile(times, 0.99) <= KILL_TARGET_MS,
  }
}

export async function terminated(fleet: Fleet, name: string): Promise<Figure[]> {
  const instance = fleet.instance(name)
  const times = await moveAway(fleet, name, () => instance.child.kill('SIGTERM'))
  const code = await instance.exited
  await comeBack(fleet, name)
  return [
    {
      name: `SIGTERM, ${times.length} users move`,
      value: spread(times),
      target: `p99 ≤ ${seconds(TERM_TARGET_MS)}`,
      met: percentile(times, 0.99) <= TERM_TARGET_MS,
    },
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
  const times = moved.map((user) => (fleet.watch.users.get(user)?.workingMs ?? Number.POSITIVE_INFINITY) - from)
  const part = moved.length / fleet.users.length
  const most = 1 / fleet.watch.liveNames.length + MOVED_SLACK
  return [
    {
      name: `one more joins, until balanced`,
      value: spread(times),
      target: `max ≤ ${seconds(JOIN_TARGET_MS)}`,
      met: percentile(times, 1) <= JOIN_TARGET_MS,
    },
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
  return [
    zero(`ledger of ${sent} mails: lost`, lost.length),
    zero('ledger: twice', twice.length),
    zero('ledger: never an event', wrong.length),
    zero('stuck after a new mail for everybody', stuck),
  ]
}
