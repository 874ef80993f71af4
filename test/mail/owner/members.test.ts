import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SeenSession } from '../../../services/mail/kv/lease-log.ts'
import { Members } from '../../../services/mail/owner/members.ts'
import { desiredOwner, membersOf } from '../../../services/mail/owner/share.ts'
import { fc } from '../../support/fast-check.ts'

const USERS = Array.from({ length: 50 }, (_, i) => `user-${i}`)
const session = (sid: string, name: string, state: 'live' | 'draining' | 'dead'): SeenSession => ({
  sid,
  revision: 1,
  changedMonoMs: 0,
  record: { v: 1, kind: 'session', name, address: 'x', directory: 'd', state, n: 1, version: '0' },
})
const anySession = fc
  .tuple(
    fc.integer({ min: 1, max: 9 }),
    fc.constantFrom('a', 'b', 'c', 'd'),
    fc.constantFrom('live', 'draining', 'dead'),
  )
  .map(([n, name, state]) => session(`${name}-${n}`, name, state as 'live' | 'draining' | 'dead'))

test('whoever comes and goes, what is remembered of a user is what the hash says of the present members', () => {
  fc.assert(
    fc.property(fc.array(fc.array(anySession, { maxLength: 6 }), { maxLength: 8 }), (steps) => {
      const members = new Members()
      for (const sessions of steps) {
        members.update(sessions)
        const live = membersOf(sessions)
        for (const user of USERS)
          assert.equal(members.desired(user)?.sid ?? null, live.get(desiredOwner(user, live.keys()) ?? '') ?? null)
      }
    }),
  )
})

test('a name that was not there before is told of, a later session of one that was is not', () => {
  const members = new Members()
  assert.equal(members.update([session('a-1', 'a', 'live')]), 'come')
  assert.equal(members.update([session('a-2', 'a', 'live')]), 'same')
  assert.equal(members.desired('ada')?.sid, 'a-2')
  assert.equal(members.update([session('a-2', 'a', 'live'), session('b-1', 'b', 'live')]), 'come')
  assert.equal(members.update([]), 'gone')
  assert.equal(members.desired('ada'), null)
})
