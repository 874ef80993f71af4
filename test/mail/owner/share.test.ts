import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SeenSession } from '../../../services/mail/kv/lease-log.ts'
import { desiredOwner, membersOf } from '../../../services/mail/owner/share.ts'

const USERS = Array.from({ length: 3_000 }, (_, i) => `user-${i}`)
const owners = (names: string[]) => new Map(USERS.map((user) => [user, desiredOwner(user, names)]))
const count = (shares: Map<string, string | null>, name: string) =>
  [...shares.values()].filter((n) => n === name).length
const session = (sid: string, name: string, state: 'live' | 'draining' | 'dead' = 'live'): SeenSession => ({
  sid,
  revision: 1,
  changedMonoMs: 0,
  record: { v: 1, kind: 'session', name, address: 'x', directory: 'd', state, n: 1, version: '0' },
})

test('users are spread evenly', () => {
  const shares = owners(['a', 'b', 'c'])
  for (const name of ['a', 'b', 'c'])
    assert.ok(Math.abs(count(shares, name) - 1_000) < 120, `${name}: ${count(shares, name)}`)
})

test('an instance that joins takes only its part, one that leaves gives away only its own', () => {
  const [three, four] = [owners(['a', 'b', 'c']), owners(['a', 'b', 'c', 'd'])]
  const moved = USERS.filter((user) => three.get(user) !== four.get(user))
  assert.ok(Math.abs(moved.length - 750) < 120, `${moved.length}`)
  assert.ok(moved.every((user) => four.get(user) === 'd'))
})

test('the order of names does not matter, and nobody owns where nobody is', () => {
  assert.deepEqual(owners(['c', 'a', 'b']), owners(['a', 'b', 'c']))
  assert.equal(desiredOwner('ada', []), null)
  assert.equal(desiredOwner('', ['only']), 'only')
})

test('only live sessions count, and of two with one name the later', () => {
  const members = membersOf([
    session('0192-2', 'a'),
    session('0192-1', 'a'),
    session('0192-3', 'b', 'draining'),
    session('0192-4', 'c', 'dead'),
    session('0192-5', 'd'),
    session('0192-6', 'd', 'dead'),
  ])
  assert.deepEqual(
    [...members],
    [
      ['a', '0192-2'],
      ['d', '0192-5'],
    ],
  )
})

test('an instance whose disk can keep nothing is left out, unless there are only such', () => {
  const full = (sid: string, name: string): SeenSession => {
    const { record, ...seen } = session(sid, name)
    return { ...seen, record: { ...record, full: 'DISK_FULL' } }
  }
  const namesOf = (sessions: SeenSession[]) => [...membersOf(sessions).keys()]
  assert.deepEqual(namesOf([full('1', 'a'), session('2', 'b')]), ['b'])
  assert.deepEqual(namesOf([full('1', 'a'), full('2', 'b')]), ['a', 'b'])
  assert.deepEqual(namesOf([full('1', 'a'), session('2', 'b', 'draining')]), ['a'])
  assert.deepEqual(
    namesOf([full('1', 'a'), session('2', 'a'), session('3', 'b')]),
    ['a', 'b'],
    'the later session counts',
  )
})
