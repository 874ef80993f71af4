/** Instances whose heartbeats are acknowledged, but whose watches never tell all: they cannot know what to do. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { desiredOwner } from '../../../services/mail/owner/share.ts'
import { until } from '../../support/until.ts'
import { type Node, ownerBox } from './support.ts'

/** So long that no session ends for a busy machine. */
const CALM_MS = 3_000

const USERS = Array.from({ length: 8 }, (_, i) => `user${i}`)
const AS = USERS.filter((user) => desiredOwner(user, ['a', 'b']) === 'a')
const BS = USERS.filter((user) => !AS.includes(user))
const owned = (node: Node): string[] => USERS.filter((user) => node.supervisor.owns(user))
const owns = (node: Node, users: readonly string[]): Promise<unknown> =>
  until(`${node.name} owns ${users.join(' ')}`, () => owned(node).join() === users.join())

/** Ends every watch of it before it is complete, until disposed of. */
function blinded(node: Node, what: readonly ('accounts' | 'leases')[]): Disposable {
  const timer = setInterval(() => {
    for (const name of what) node[name].replica.renew()
  }, 1)
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

// Each has a server of its own, and most of their time is waiting.
describe('an instance whose watches fail', { concurrency: 3 }, () => {
  test('says so, so that its share is owned by another one, and takes it when it sees again', async () => {
    await using box = await ownerBox()
    const [a, b] = [await box.node('a'), await box.node('b')]
    b.run()
    for (const user of USERS) await box.put(b, user)
    await owns(b, USERS)
    {
      using _ = blinded(a, ['accounts'])
      a.run()
      await until('a says it', () => a.supervisor.session.blind)
      await owns(b, USERS)
      // A busy machine may end its term: then the next session says it.
      const heard = (): boolean => b.leases.sessions.get(a.supervisor.session.sid)?.record.full === 'BLIND'
      await until('b has heard it', heard)
      await box.put(b, 'user-new')
      await until('b owns a new user', () => b.supervisor.owns('user-new'))
    }
    await owns(a, AS)
    await owns(b, BS)
    assert.equal(a.supervisor.session.blind, false)
  })

  for (const what of [['accounts'], ['leases'], ['accounts', 'leases']] as const)
    test(`lets go of the users that it has, and gets them back: ${what.join(' and ')}`, async () => {
      await using box = await ownerBox()
      const [a, b] = [await box.node('a'), await box.node('b')]
      a.run()
      b.run()
      for (const user of USERS) await box.put(b, user)
      await owns(a, AS)
      {
        using _ = blinded(a, what)
        await owns(b, USERS)
        assert.deepEqual(owned(a), [])
        // Who cannot see its leases gives its session back as well: there may be users that it was handed since.
        const state = what.some((bucket) => bucket === 'leases') ? 'closed' : 'live'
        await until(`its session is ${state}`, () => a.supervisor.session.state === state)
      }
      await owns(a, AS)
    })

  test('control: one that is never taken for blind keeps its users from everybody', async () => {
    await using box = await ownerBox()
    const never = { silenceMs: CALM_MS, times: { blindMs: Number.POSITIVE_INFINITY } }
    const [a, b] = [await box.node('a', never), await box.node('b', { silenceMs: CALM_MS })]
    a.run()
    b.run()
    for (const user of USERS) await box.put(b, user)
    await owns(a, AS)
    using _ = blinded(a, ['accounts'])
    const startMs = performance.now()
    await until('others would have let go', () => performance.now() - startMs > 3 * CALM_MS)
    assert.deepEqual([a.supervisor.session.blind, owned(a), owned(b)], [false, AS, BS])
  })

  test('keeps its users when no other one can have them: blind as well, or dead and not yet declared so', async () => {
    await using box = await ownerBox()
    // Nobody declares c dead: it is judged by its own silence.
    const calm = { silenceMs: CALM_MS }
    const [a, b, c] = [await box.node('a', calm), await box.node('b', calm), await box.node('c', { silenceMs: 60_000 })]
    a.run()
    b.run()
    for (const user of USERS) await box.put(b, user)
    await owns(a, AS)
    await owns(b, BS)
    const sid = 'ffffffff'
    const record = { v: 1, kind: 'session', name: c.name, address: 'c', directory: 'c', state: 'live' } as const
    await c.leases.writeSession(
      sid,
      { ...record, full: 'DISK_FULL', silence_ms: 60_000, n: 1, version: '0' },
      null,
      1_000,
    )
    await until('both see c', () => [a, b].every((node) => node.leases.sessions.has(sid)))
    const [first] = await Promise.all([c.leases.readSession(sid)])
    await c.leases.writeSession(
      sid,
      { ...record, silence_ms: 60_000, n: 2, version: '0' },
      first?.revision ?? null,
      1_000,
    )
    using _a = blinded(a, ['accounts', 'leases'])
    using _b = blinded(b, ['accounts', 'leases'])
    const startMs = performance.now()
    await until('both say it', () => [a, b].every((node) => node.supervisor.session.blind))
    await until('they have looked for others', () => performance.now() - startMs > 3 * CALM_MS)
    assert.deepEqual([owned(a), owned(b)], [AS, BS])
  })
})
