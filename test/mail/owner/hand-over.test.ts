/** A user goes from one owner to the next by a single write of its lease. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { leaseKey } from '#shared/subjects.ts'
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
  await until('a polls the user', () => a.supervisor.tenures.get(USER)?.polledMs)
  const b = await box.node('b')
  b.run()
  await until('b works for the user', () => b.provider.asked.length > 0)
  const sids = [a.supervisor.session.sid, b.supervisor.session.sid]
  const polledMs = b.leases.leases.get(USER)?.record.polled_ms ?? assert.fail('nobody has said when it polled last')
  assert.ok(Math.abs(polledMs - Date.now()) < 60_000)
  await b.end()
  await until('a owns the user again', () => a.supervisor.owns(USER))
  assert.deepEqual(
    owners.filter((owner, i) => owner !== owners[i - 1]),
    [sids[0], sids[1], sids[0]],
  )
})
