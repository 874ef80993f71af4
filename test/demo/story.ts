/**
 * What happens in the demo, in this order: sign up, connect, watch the backfill while mail arrives, moves and is deleted,
 * an accident in the middle, wait until all is there, compare with the truth. Then, for somebody at a terminal, new mail
 * until Ctrl-C. Every wait has a deadline and names the part whose log explains it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Ledger, ledgerOf } from '../support/ledger.ts'
import { until } from '../support/until.ts'
import { killAndRestart, loseOwner } from './accident.ts'
import { Board } from './board.ts'
import { followEvents } from './events.ts'
import { PartError } from './part.ts'
import { count, type Stage, secondsSince, step, TICK_MS } from './stage.ts'
import { type System, startSystem } from './system.ts'
import { whatToTry } from './try.ts'
import type { View } from './view.ts'
import { type Person, Traffic, World } from './world.ts'

const SETTLE_DEADLINE_MS = 30_000
const STAY_PACE_MS = 4_000
/** An instance is killed when this share of the mail is on the stream. */
const KILL_AT = 0.4

export type DemoOptions = {
  /** Mails in each mailbox; about nine of ten count (drafts, chats, spam and trash do not). */
  n: number
  /** How many instances share the users. */
  instances: number
  /** Stay live after the ledger, until the signal. */
  stay: boolean
  /** For the test of the ledger: what it does to the stream has to be found. */
  beforeLedger?: (system: System, people: readonly Person[]) => Promise<void>
}

/** Runs the demo in `dir` and ends all that it started. Answers whether the ledger was clean. */
export async function runDemo(dir: string, options: DemoOptions, view: View, stop: AbortSignal): Promise<boolean> {
  const startedMs = performance.now()
  view.title('mail-sync demo')
  await using system = await startSystem(dir, options.instances, stop)
  const signal = AbortSignal.any([stop, system.failed])
  try {
    signal.throwIfAborted()
    const consumer = await system.connection('consumer')
    const fleet = system.isFleet ? `${options.instances} instances` : 'one instance'
    view.done(`started nats-server ${consumer.info?.version}, simulator, Better Auth, ${fleet}, HTTP bridge`)
    const world = new World(system)
    const people = [await world.signUp('ada', 'google'), await world.signUp('grace', 'microsoft')]
    view.done(`signed up with Better Auth: ${people.map(({ email }) => email).join(' and ')}`)
    await using events = await followEvents(await system.connection('ops'), consumer)
    const board = new Board(system, world, people, events, view)
    const stage: Stage = { startedMs, system, world, people, events, board, view, signal }
    const ledger = await backfill(stage, options)
    if (options.stay) await stayLive(stage, ledger)
    return ledger.clean
  } catch (error) {
    // Whatever was waited for, the part that died is the reason.
    if (!stop.aborted && system.failed.aborted) throw system.failed.reason
    throw error
  }
}

async function backfill(stage: Stage, options: DemoOptions): Promise<Ledger> {
  const { system, world, people, events, board, view } = stage
  await world.slowGraph()
  for (const person of people) await world.connect(person, options.n)
  const truths = await Promise.all(people.map((person) => world.truth(person)))
  const expected = truths.reduce((sum, { must }) => sum + must.length, 0)
  const [ada = 0, grace = 0] = truths.map(({ must }) => must.length)
  view.done(`POST /mail/connect: ada, Gmail, ${count(ada)} mails; grace, Outlook, ${count(grace)} mails`)
  const traffic = new Traffic(world, people, truths)
  const tick = async (): Promise<void> => {
    board.sent(await traffic.tick())
    await board.look()
  }
  await step(stage, 'a part of the mail is on the stream', async () => {
    await tick()
    return events.total >= expected * KILL_AT
  })
  const when = `with ${count(events.total)} of ${count(expected)} events on the stream`
  if (system.isFleet) await loseOwner(stage, when, tick)
  else await killAndRestart(stage, when)
  await step(stage, 'both mailboxes are live', async () => {
    await tick()
    return board.allLive
  })
  const { delivered, moved, deleted } = traffic
  view.done(`backfill complete; meanwhile ${delivered} new mails, ${moved} moved, ${deleted} deleted`)
  const isComplete = await settle(stage)
  await options.beforeLedger?.(system, people)
  return await judge(stage, isComplete)
}

/** Waits until the consumer has seen all that must be there. False when that did not come true: the ledger tells what. */
async function settle(stage: Stage): Promise<boolean> {
  const { world, people, events, board, signal } = stage
  const isThere = async (person: Person): Promise<boolean> =>
    (await world.truth(person)).must.every((id) => events.seenAtMs(person.upper, id) !== undefined)
  const isComplete = async (): Promise<boolean> => {
    await board.look()
    return board.waiting === 0 && board.allLive && (await Promise.all(people.map(isThere))).every((there) => there)
  }
  try {
    await until('all mail is on the stream', isComplete, { timeoutMs: SETTLE_DEADLINE_MS, everyMs: TICK_MS, signal })
    return true
  } catch {
    signal.throwIfAborted()
    return false
  }
}

/** The stream, read by sequence, against what the simulator says. */
async function judge({ startedMs, system, world, people, view }: Stage, isComplete: boolean): Promise<Ledger> {
  const accounts = await Promise.all(
    people.map(async (person) => ({
      userId: person.userId,
      provider: person.upper,
      ...(await world.truth(person)),
    })),
  )
  const ledger = await ledgerOf(await system.connection('ops'), accounts)
  view.done(`compared the stream with the simulator; ${secondsSince(startedMs)} s in total`)
  view.verdict(ledger.line, ledger.clean)
  const { lost, twice, wrong, clean } = ledger
  if (!clean) {
    for (const [what, ids] of Object.entries({ lost, twice, 'should never have been an event': wrong }))
      if (ids.length > 0) view.note(`${what}: ${ids.slice(0, 5).join(' ')}${ids.length > 5 ? ' …' : ''}`)
    const { name, tail } = system.blamed
    view.note(`${isComplete ? '' : 'waited in vain for the rest. '}Last lines of the ${name}:\n${tail()}`)
  }
  return ledger
}

/** New mail every few seconds, until the signal. Whoever kills an instance sees it come back. */
async function stayLive(stage: Stage, ledger: Ledger): Promise<void> {
  const { system, world, people, board, view, signal } = stage
  for (const line of whatToTry(system, people)) view.note(line)
  const traffic = new Traffic(world, people, [])
  system.instanceMayDie = true
  board.foot = `${ledger.line}    Ctrl-C ends everything`
  let wellAtMs = Date.now()
  while (!signal.aborted) {
    for (const { name } of system.instances.filter(({ hasEnded }) => hasEnded)) {
      board.down = !system.isFleet
      view.hurt(`${system.isFleet ? name : 'the instance'} is gone`)
      const { pid } = await system.restartInstance(name)
      board.down = false
      view.done(`started it again on the same data, pid ${pid}`)
    }
    try {
      board.sent(await traffic.tick(STAY_PACE_MS))
      await board.look()
      wellAtMs = Date.now()
    } catch (error) {
      // A question that was under way when somebody killed the instance.
      if (Date.now() - wellAtMs > SETTLE_DEADLINE_MS) throw new PartError(system.blamed, error)
    }
    await sleep(TICK_MS, undefined, { signal }).catch(() => undefined)
  }
  if (system.failed.aborted) throw system.failed.reason
}
