/** Which part of which move has its turn. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Moves } from '../../../services/mail/owner/moves.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { log } from '../kv/support.ts'

const NEVER = new AbortController().signal
const box = () => {
  const clock = new ManualClock()
  const ended: string[] = []
  const done: string[] = []
  const moves = new Moves((userId) => ended.push(userId), clock, log)
  const note = (name: string) => async (): Promise<void> => void done.push(name)
  return { clock, moves, ended, done, note }
}

test('a user has one move at a time, and its end is told, also after a fault', async () => {
  const { moves, ended, done, note } = box()
  moves.start('ada', () => moves.step('work', note('first')))
  moves.start('ada', () => moves.step('work', note('second')))
  assert.ok(moves.has('ada'))
  await moves.settled()
  moves.start('ada', () => Promise.reject(new Error('a fault')))
  await moves.settled()
  assert.deepEqual([done, ended, moves.has('ada')], [['first'], ['ada', 'ada'], false])
})

test('what nobody waits for comes when no lease waits to be written', async () => {
  const { moves, done, note } = box()
  const written = Promise.withResolvers<void>()
  moves.start('ada', async () => {
    await moves.step('lease', note('ada'))
    await moves.leasesWritten()
    done.push('tidied')
  })
  moves.start('bob', () => moves.step('lease', () => written.promise.then(note('bob'))))
  await new Promise(setImmediate)
  assert.deepEqual(done, ['ada'])
  written.resolve()
  await moves.settled()
  assert.deepEqual(done, ['ada', 'bob', 'tidied'])
})

test('what nobody waits for comes all the same while a lease cannot be written', async () => {
  const { clock, moves } = box()
  void moves.step('lease', () => new Promise(() => undefined))
  const written = moves.leasesWritten()
  await clock.advance(2_000)
  await written
})

test('work waits while leases come and go, and goes on when none has for a moment: first a look at all users', async () => {
  const { clock, moves, done, note } = box()
  const held = moves.hold(() => false, NEVER)
  const all = [moves.step('work', note('work')), moves.step('look', note('look'))]
  for (let i = 0; i < 5; i++) {
    await moves.step('lease', note('lease'))
    await clock.advance(90)
  }
  assert.deepEqual(done, Array(5).fill('lease'))
  await clock.advance(500)
  await Promise.all([held, ...all])
  assert.deepEqual(done.slice(5), ['look', 'work'])
})

test('work waits two seconds at most, and not at all for an instance that stops', async () => {
  const { clock, moves, done, note } = box()
  const held = moves.hold(() => false, NEVER)
  const work = moves.step('work', note('work'))
  for (let i = 0; i < 25; i++) {
    void moves.step('lease', note('lease'))
    await clock.advance(90)
  }
  await Promise.all([held, work])
  assert.ok(done.indexOf('work') < 25)
  await moves.hold(() => false, AbortSignal.abort(new Error('stopping')))
  await moves.step('work', note('last'))
  assert.equal(done.at(-1), 'last')
})

test('work goes on as soon as it is known that no more leases come', async () => {
  const { clock, moves, done, note } = box()
  let isOver = false
  const held = moves.hold(() => isOver, NEVER)
  const work = moves.step('work', note('work'))
  await clock.advance(100)
  assert.deepEqual(done, [])
  isOver = true
  await clock.advance(50)
  await Promise.all([held, work])
  assert.deepEqual(done, ['work'])
})

test('of what is due the most overdue begins first, behind every look', async () => {
  const { clock, moves, done, note } = box()
  const held = moves.hold(() => false, NEVER)
  const nowMs = clock.wallMs()
  const all = [
    moves.step('work', note('now'), nowMs),
    moves.step('work', note('10 s late'), nowMs - 10_000),
    moves.step('look', note('look')),
    moves.step('work', note('5 s late'), nowMs - 5_000),
  ]
  await clock.advance(500)
  await Promise.all([held, ...all])
  assert.deepEqual(done, ['look', '10 s late', '5 s late', 'now'])
})
