/** A user goes from one owner to the next by a single write of its lease. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { leaseKey, sessionKey } from '#shared/subjects.ts'
import { haveLeft } from '../../../services/mail/owner/hand-over.ts'
import { desiredOwner } from '../../../services/mail/owner/share.ts'
import { until } from '../../support/until.ts'
import { type Node, ownerBox } from './support.ts'

const USER =
  Array.from({ length: 99 }, (_, i) => `user${i}`).find((user) => desiredOwner(user, ['a', 'b']) === 'b') ?? ''

/** Owners of the user one after the other, as the lease log has them. */
function followOwners(node: Node): (string | null)[] {
  const owners: (string | null)[] = []
  node.leases.replica.listen((key, entry) => {
    if (key === leaseKey(USER) && entry?.record.kind === 'lease') owners.push(entry.record.owner)
  })
  return owners
}

test('the lease names the next owner at once, when one joins and when one leaves', async () => {
  await using box = await ownerBox()
  const a = await box.node('a')
  const owners = followOwners(a)
  a.run()
  await box.put(a, USER)
  await until('a polls the user', () => a.supervisor.tenures.get(USER)?.last.dueMs)
  const b = await box.node('b')
  b.run()
  await until('b works for the user', () => b.provider.asked.length > 0)
  const sids = [a.supervisor.session.sid, b.supervisor.session.sid]
  const dueMs = b.leases.leases.get(USER)?.record.due_ms ?? assert.fail('nobody has said when it is to be polled')
  assert.ok(Math.abs(dueMs - Date.now()) < 60_000)
  await b.end()
  await until('a owns the user again', () => a.supervisor.owns(USER))
  assert.deepEqual(
    owners.filter((owner, i) => owner !== owners[i - 1]),
    [sids[0], sids[1], sids[0]],
  )
})

test('those who stop have left when no lease names one of them any more', async () => {
  await using box = await ownerBox()
  const { leases } = await box.node('b')
  const session = { v: 1, kind: 'session', address: 'x', directory: 'd', n: 0, version: '0.0.0' } as const
  const lease = (owner: string | null, revision: number): void =>
    leases.replica.note(leaseKey(USER), { v: 1, kind: 'lease', owner }, revision)
  leases.replica.note(sessionKey('stays'), { ...session, name: 'a', state: 'live' }, 1)
  lease('stays', 2)
  assert.equal(haveLeft(leases), false, 'nobody stops')
  leases.replica.note(sessionKey('stops'), { ...session, name: 'c', state: 'draining' }, 3)
  assert.equal(haveLeft(leases), true)
  lease('stops', 4)
  assert.equal(haveLeft(leases), false)
  lease(null, 5)
  assert.equal(haveLeft(leases), true)
})
