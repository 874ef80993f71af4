/** Polls of users at rest: a bounded number at a time, the most overdue first, none while leases move. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PollTurns } from '../../../services/mail/owner/poll-turns.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { log } from '../kv/support.ts'

const AT_ONCE = 128

function box() {
  const turns = new PollTurns(new ManualClock(), log)
  const begun: string[] = []
  const ends: (() => void)[] = []
  const take = (name: string, dueMs: number): void =>
    turns.take({
      dueMs,
      poll: () => {
        begun.push(name)
        return new Promise((resolve) => ends.push(resolve))
      },
    })
  const end = async (polls = 1): Promise<void> => {
    for (const over of ends.splice(0, polls)) over()
    await new Promise(setImmediate)
  }
  return { turns, begun, take, end }
}

test('so many at a time and no more; who is due first begins first, and of those due together who came first', async () => {
  const { begun, take, end } = box()
  for (let i = 0; i < AT_ONCE; i++) take('first', 0)
  for (const [name, dueMs] of [
    ['b', 20],
    ['a', 10],
    ['c', 20],
    ['d', 30],
  ] as const)
    take(name, dueMs)
  assert.equal(begun.length, AT_ONCE)
  await end(2)
  assert.deepEqual(begun.slice(AT_ONCE), ['a', 'b'])
  await end(2)
  assert.deepEqual(begun.slice(AT_ONCE), ['a', 'b', 'c', 'd'])
})

test('while it is held none begins, and then those that waited do', async () => {
  const { turns, begun, take } = box()
  turns.hold()
  take('a', 10)
  take('b', 0)
  assert.deepEqual(begun, [])
  turns.goOn()
  assert.deepEqual(begun, ['b', 'a'])
  turns.hold()
  take('c', 0)
  turns.close()
  turns.goOn()
  assert.deepEqual(begun, ['b', 'a'])
})

test('a poll that fails makes room for the next one', async () => {
  const turns = new PollTurns(new ManualClock(), log)
  for (let i = 0; i < AT_ONCE; i++) turns.take({ dueMs: 0, poll: () => Promise.reject(new Error('a fault')) })
  let isBegun = false
  turns.take({
    dueMs: 0,
    poll: async () => {
      isBegun = true
    },
  })
  await new Promise(setImmediate)
  assert.equal(isBegun, true)
})
