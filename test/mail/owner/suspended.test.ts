/**
 * An instance that was declared dead while it was cut off: suspended by its own deadline, it drops everything when it
 * hears of it, comes back as another session, and starts from its files only where they know enough.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { EVENT_STREAM } from '#shared/subjects.ts'
import { desiredOwner } from '../../../services/mail/owner/share.ts'
import type { Tenure } from '../../../services/mail/owner/tenure.ts'
import { outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import { eventsOf } from '../../support/ledger.ts'
import { startProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { mail } from '../store/support.ts'
import { type Node, type OwnerBox, ownerBox, TWENTY } from './support.ts'

const EACH = 3
const belongTo = (owner: string): string[] =>
  Array.from({ length: 100 }, (_, i) => `user${i}`)
    .filter((user) => desiredOwner(user, ['a', 'b']) === owner)
    .slice(0, EACH)
const OF_A = belongTo('a')
const USERS = [...OF_A, ...belongTo('b')]
const owned = ({ supervisor }: Node): string[] => USERS.filter((user) => supervisor.owns(user))

/** Bases of the take-overs beyond those given: users may have moved while the two started. */
async function bases({ tenure }: Node, before: Record<string, number> = {}): Promise<Record<string, number>> {
  const metric = await tenure.telemetry.registry.getSingleMetric('mailsync_takeovers_total')?.get()
  const counts = metric?.values.map(({ labels, value }): [string, number] => {
    const base = String(labels.base)
    return [base, value - (before[base] ?? 0)]
  })
  return Object.fromEntries(counts?.filter(([, value]) => value > 0) ?? [])
}

/** A mail that comes after the twenty; a position behind it finds nothing more. */
function deliver({ provider }: Node): void {
  const { answer } = provider
  provider.answer = async (request, call) => {
    const { lane, cursor } = request
    if (lane !== 'history' || cursor === null || Number(cursor) < 4) return await answer(request, call)
    return { messages: cursor === '4' ? [mail('late')] : [], lanes: [{ lane, cursor: '5', done: true }] }
  }
}

async function eventIds(box: OwnerBox): Promise<Map<string, string[]>> {
  const ops = await box.connect('ops')
  const ids = new Map<string, string[]>()
  for (const user of USERS)
    ids.set(
      user,
      (await eventsOf(ops, user)).map(({ msgId }) => msgId),
    )
  return ids
}
const allHave = async (box: OwnerBox, count: number): Promise<Map<string, string[]>> =>
  await until(`${count} events of each`, async () => {
    const ids = await eventIds(box)
    return [...ids.values()].every((of) => of.length >= count) ? ids : null
  })

/** The two share the users, all mail is published, and the positions are written. */
async function shared(box: OwnerBox, port: number): Promise<{ a: Node; b: Node }> {
  const [a, b] = [await box.node('a', { port }), await box.node('b')]
  a.run()
  b.run()
  for (const user of USERS) await box.put(a, user)
  await until('they share the users', () => owned(a).length === EACH && owned(b).length === EACH)
  await allHave(box, TWENTY)
  await until('the positions are written', async () => {
    const found = await Promise.all(USERS.map((user) => a.checkpoints.read(user)))
    return found.every((checkpoint) => (checkpoint?.record.pub ?? 0) > 0)
  })
  return { a, b }
}

/** Answers what it started its users from, and every event of each user, from before and after all had aged out. */
async function comesBack(isAgedOut: boolean) {
  await using box = await ownerBox()
  await using proxy = await startProxy(box.server.port)
  const { a, b } = await shared(box, proxy.port)
  const { sid } = a.supervisor.session
  const begun = await bases(a)
  const past: Tenure[] = OF_A.flatMap((user) => a.supervisor.tenures.get(user) ?? [])
  proxy.hold('toServer')
  proxy.hold('toClient')
  await until('its own deadline has passed', () => owned(a).length === 0)
  assert.deepEqual([a.supervisor.session.sid, a.supervisor.tenures.size], [sid, EACH], 'suspended, and nothing dropped')
  deliver(b)
  await until('b has all users', () => owned(b).length === USERS.length)
  const published = await allHave(box, TWENTY + 1)
  await until('b has written so', async () => {
    const found = await Promise.all(OF_A.map((user) => b.checkpoints.read(user)))
    return found.every((checkpoint) => checkpoint?.record.lanes['google.primary']?.[0]?.cursor === '5')
  })
  if (isAgedOut) await (await jetstreamManager(await box.connect('ops'))).streams.purge(EVENT_STREAM)
  deliver(a)
  proxy.release()

  await until('it is another session', () => a.supervisor.session.valid && a.supervisor.session.sid !== sid)
  await until('all of the past is lost', () => past.every(({ lost }) => lost.aborted))
  await until('it has its users back', () => owned(a).length === EACH && owned(b).length === EACH)
  const started = await until('they have started', async () => {
    const counts = await bases(a, begun)
    return Object.values(counts).reduce((sum, count) => sum + count, 0) >= EACH ? counts : null
  })
  await until('it polls', () => OF_A.every((user) => a.supervisor.tenures.get(user)?.pending === 0))
  for (const user of OF_A) assert.equal(a.store.read(user, outboxDepth).pending, 0)
  const after = await eventIds(box)
  const events = USERS.map((user) => [...(isAgedOut ? (published.get(user) ?? []) : []), ...(after.get(user) ?? [])])
  return { started, events }
}

// Each has a server of its own, and most of their time is waiting.
describe('an instance that was declared dead while it was cut off', { concurrency: 2 }, () => {
  for (const [isAgedOut, what] of [
    [false, 'its files and the stream know all: it goes on from them'],
    [true, 'what others published has aged out: its files are no base'],
  ] as const)
    test(`it drops all users and gets them back in a new session; ${what}`, async () => {
      const { started, events } = await comesBack(isAgedOut)
      if (isAgedOut) assert.deepEqual([started.local, started.stale], [undefined, undefined])
      else assert.deepEqual(started, { stale: EACH })
      for (const ids of events) assert.deepEqual([ids.length, new Set(ids).size], [TWENTY + 1, TWENTY + 1])
    })
})
