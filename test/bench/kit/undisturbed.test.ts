/** Which windows count when the host of the machine disturbs some of them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { medianOf, undisturbed } from './undisturbed.ts'

/** Windows of which the host took so many of a hundred ticks. What each gives is its number. */
async function windowsOf(windows: number, stolen: readonly number[], again = true) {
  let [ran, lost, asked, given] = [0, 0, 0, 0]
  const processors = () => {
    // Before and after each window.
    if (asked++ % 2 === 1) {
      const share = stolen[given - 1] ?? 0
      ran += 100 - share
      lost += share
    }
    return { ran, stolen: lost }
  }
  return await undisturbed({ windows, again }, async () => given++, processors)
}

test('a window that the host disturbed is measured again', async () => {
  const found = await windowsOf(3, [10, 11, 0, 40, 3, 0])
  assert.deepEqual(found, { values: [0, 2, 4], all: [0, 1, 2, 3, 4] })
  assert.deepEqual(
    medianOf(found, (value) => 10 * value),
    { value: 20, rounds: [0, 20, 40], measured: [0, 10, 20, 30, 40] },
  )
})

test('on a quiet machine no window is measured twice', async () => {
  const found = await windowsOf(3, [1, 2, 3, 0])
  assert.deepEqual(found, { values: [0, 1, 2], all: [0, 1, 2] })
  assert.deepEqual(
    medianOf(found, (value) => value),
    { value: 1, rounds: [0, 1, 2] },
  )
})

test('on a machine that is never quiet twice as many are measured, and those count that lost the least', async () => {
  const found = await windowsOf(3, [50, 20, 40, 9, 60, 30, 0])
  assert.deepEqual(found, { values: [1, 3, 5], all: [0, 1, 2, 3, 4, 5] })
})

test('the short form measures no window again', async () => {
  const found = await windowsOf(3, [50, 20, 40, 9], false)
  assert.deepEqual(found, { values: [0, 1, 2], all: [0, 1, 2] })
})
