/** How late polls are said to be. Nothing is timed here. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { latenessOf } from './polls.ts'

const DUE = { intervalMs: 1_000, fromMs: 10_000, toMs: 12_000 }
const late = (times: readonly number[], momentMs = 300): number[] =>
  latenessOf(
    times.map((atMs) => ({ user: 'ada', atMs })),
    { ...DUE, moments: new Map([['ada', momentMs]]) },
  )

test('a poll is as late as it comes after the moment of its user, also by more than half of the interval', () => {
  assert.deepEqual(late([9_300, 10_310, 11_950]), [10, 650])
})

test('a poll a little before its moment is the one of that moment', () => {
  assert.deepEqual(late([10_295, 11_290]), [-5, -10])
})

test('a poll that was left out is as late as the next one, and infinitely where none followed', () => {
  assert.deepEqual(late([9_300, 11_320]), [1_020, 20])
  assert.deepEqual(late([10_300]), [0, Number.POSITIVE_INFINITY])
  assert.deepEqual(late([]), [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY])
})

test('what was due in the time may come after it, and what was due outside of it is not counted', () => {
  // Due at 10.9 and 11.9, neither at 9.9 nor at 12.9.
  assert.deepEqual(late([9_905, 10_906, 12_007, 12_908], 900), [6, 107])
})

test('users are told apart, and the order is that in which their polls were due', () => {
  const polls = [
    { user: 'bob', atMs: 10_105 },
    { user: 'ada', atMs: 10_304 },
    { user: 'bob', atMs: 11_103 },
    { user: 'ada', atMs: 11_302 },
  ]
  const moments = new Map([
    ['ada', 300],
    ['bob', 100],
  ])
  assert.deepEqual(latenessOf(polls, { ...DUE, moments }), [5, 4, 3, 2])
})
