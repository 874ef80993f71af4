/** Deadlines of many short things: each comes at its time or not at all, and what has ended keeps nothing that came later. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Deadlines } from '../../../services/mail/base/deadlines.ts'
import { ManualClock } from './manual-clock.ts'

const MS = 30_000
/** A timer looks again so long after the last one has ended. */
const LOOK_MS = 1_000

function world() {
  const clock = new ManualClock()
  const expired: string[] = []
  const deadlines = new Deadlines(MS, clock)
  return { clock, expired, begin: (name: string) => deadlines.begin(() => expired.push(name)) }
}

test('what has not ended expires at its time, in the order in which it began', async () => {
  const { clock, expired, begin } = world()
  begin('a')
  await clock.advance(10)
  begin('b')
  const end = begin('c')
  begin('d')
  end()
  await clock.advance(MS - 11)
  assert.deepEqual(expired, [])
  await clock.advance(1)
  assert.deepEqual(expired, ['a'])
  await clock.advance(10)
  assert.deepEqual(expired, ['a', 'b', 'd'])
})

test('to end twice, or after the time is over, ends nothing else', async () => {
  const { clock, expired, begin } = world()
  const [first, second] = [begin('a'), begin('b')]
  begin('c')
  second()
  second()
  await clock.advance(MS)
  first()
  assert.deepEqual(expired, ['a', 'c'])
  begin('d')
  first()
  second()
  await clock.advance(MS)
  assert.deepEqual(expired, ['a', 'c', 'd'])
})

test('when nothing is open no timer is left', async () => {
  const { clock, begin } = world()
  begin('a')()
  await clock.advance(LOOK_MS)
  assert.equal(clock.sleeping, 0)
})

test('what has ended does not keep what began later from being collected while it is young', () => {
  setFlagsFromString('--expose-gc')
  const collect: (options: { type: 'minor' | 'major' }) => void = runInNewContext('gc')
  const deadlines = new Deadlines(MS, new ManualClock())
  const open = [deadlines.begin(() => undefined)]
  // What has been there for a while is old.
  for (let i = 0; i < 3; i++) collect({ type: 'minor' })
  const before = oldBytes()
  for (let i = 0; i < 20_000; i++) {
    // As a request: it holds a kilobyte of its own, and some others are on their way.
    const held = new Array(128).fill(i)
    open.push(deadlines.begin(() => held.fill(0)))
    if (open.length > 16) open.shift()?.()
    if (i % 500 === 0) collect({ type: 'minor' })
  }
  const kept = oldBytes() - before
  assert.ok(kept < 2 ** 20, `${kept} bytes of the 20 MB that have ended are kept as if they were in use`)
})

const oldBytes = (): number =>
  getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')?.space_used_size ?? Number.NaN
