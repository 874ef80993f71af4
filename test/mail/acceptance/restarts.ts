/** Instances that are restarted one after another while mail arrives, and NATS away for longer than the silence. */
import assert from 'node:assert/strict'
import { setTimeout as pass } from 'node:timers/promises'
import { EVENT_SUBJECT_ALL } from '#shared/subjects.ts'
import { decodeUser } from '#shared/user-token.ts'
import { sandbox } from '../../support/sandbox.ts'
import { Fleet, fleetEnv, USERS } from './fleet.ts'
import { leaseRevision, SEED } from './support.ts'

const NAMES = ['a', 'b', 'c'] as const
/** A mail for each user this often. */
const MAIL_EVERY_MS = 200

/**
 * Three instances of which `count` are ended by the signal, one after another, and started again on their data, while
 * mail arrives for everybody all the time. Answers the longest time between two events of one user.
 */
export async function rollingRestart(signal: 'SIGTERM' | 'SIGKILL', count: number, silenceMs: number): Promise<string> {
  await using box = await sandbox({ simulator: { pageSizeGraph: 20, seed: SEED }, env: fleetEnv(silenceMs) })
  const fleet = await Fleet.of(box)
  const instances = new Map<string, Awaited<ReturnType<Fleet['spawn']>>>()
  for (const name of NAMES) instances.set(name, await fleet.spawn(name))
  await fleet.connectAll(40, NAMES)
  await fleet.figures('before')
  const stillness = watchStillness(fleet)
  const load = underLoad(fleet)
  for (const name of NAMES.slice(0, count)) {
    const code = await instances.get(name)?.kill(signal)
    if (signal === 'SIGTERM') assert.equal(code, 0, `${name} ends in order`)
    if (signal === 'SIGKILL') await fleet.ownedBy(NAMES.filter((other) => other !== name))
    await fleet.spawn(name)
    await fleet.ownedBy(NAMES)
    await fleet.goesOn()
  }
  await load.end()
  const longest = stillness.longest()
  const { line } = await fleet.figures(`rolling restart of ${count} by ${signal} under load`)
  const usual = `mail every ${MAIL_EVERY_MS} ms, polled every 600 ms`
  return `${line}; longest a user stood still: ${longest} ms (silence ${silenceMs} ms, ${usual})`
}

function underLoad(fleet: Fleet): { end(): Promise<void> } {
  const stop = new AbortController()
  const deliver = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      for (const i of USERS.keys()) fleet.deliverTo(i)
      await pass(MAIL_EVERY_MS)
    }
  }
  const running = deliver()
  return {
    async end() {
      stop.abort()
      await running
    },
  }
}

/** The longest time between two events of one user, as they arrive at somebody who listens. */
function watchStillness(fleet: Fleet): { longest(): number } {
  const startMs = performance.now()
  const last = new Map<string, number>(USERS.map((user) => [user, startMs]))
  let longest = 0
  const note = (user: string): void => {
    const nowMs = performance.now()
    longest = Math.max(longest, nowMs - (last.get(user) ?? nowMs))
    last.set(user, nowMs)
  }
  fleet.ops.subscribe(EVENT_SUBJECT_ALL, {
    callback: (_error, { subject }) => note(decodeUser(subject.split('.')[1] ?? '')),
  })
  return {
    longest() {
      for (const user of USERS) note(user)
      return Math.round(longest)
    },
  }
}

/** NATS is away for `downMs`: every lease is the same afterwards, down to its revision. */
export async function natsAwayForAll(downMs: number, silenceMs: number): Promise<string> {
  await using box = await sandbox({ simulator: { pageSizeGraph: 20, seed: SEED }, env: fleetEnv(silenceMs) })
  const fleet = await Fleet.of(box)
  for (const name of NAMES) await fleet.spawn(name)
  await fleet.connectAll(40, NAMES)
  // A take-over that is still under way would have to be made again.
  await fleet.figures('before')
  const before = [await fleet.owners(), await revisions(fleet)]
  await box.nats.stop('SIGKILL')
  fleet.deliver()
  await pass(downMs)
  await box.nats.start()
  const { line, overlaps } = await fleet.figures(`NATS away for ${downMs} ms, silence ${silenceMs} ms`)
  const after = [await fleet.owners(), await revisions(fleet)]
  assert.deepEqual(after, before, `nobody has changed owner. Sessions that ended:\n${fleet.ends.join('\n')}`)
  assert.deepEqual(overlaps, [])
  return line
}

async function revisions({ ops }: Fleet): Promise<Record<string, number | null>> {
  const found: Record<string, number | null> = {}
  for (const user of USERS) found[user] = await leaseRevision(ops, user)
  return found
}
