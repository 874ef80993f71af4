/** Which windows count when the host of the machine disturbs some of them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { againNote, undisturbed } from './undisturbed.ts'

/** Windows of which the host took so many of a hundred ticks. What each gives is its number. */
async function windowsOf(count: number, stolen: readonly number[]) {
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
  return await undisturbed(count, async () => given++, processors)
}

test('a window that the host disturbed is measured again', async () => {
  const found = await windowsOf(3, [10, 11, 0, 40, 3, 0])
  assert.deepEqual(found, { values: [0, 2, 4], measured: 5 })
  assert.equal(againNote(found), '2 of 5 disturbed')
})

test('on a quiet machine no window is measured twice', async () => {
  const found = await windowsOf(3, [1, 2, 3, 0])
  assert.deepEqual(found, { values: [0, 1, 2], measured: 3 })
  assert.equal(againNote(found), '')
})

test('on a machine that is never quiet twice as many are measured, and those count that lost the least', async () => {
  const found = await windowsOf(3, [50, 20, 40, 9, 60, 30, 0])
  assert.deepEqual(found, { values: [1, 3, 5], measured: 6 })
})
