import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LaneState } from '../../../services/mail/base/model.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { backfillDone, type Plan, type PlanInput, plan } from '../../../services/mail/sync/plan.ts'

const NOW = 1_000_000
const EVERY = 30_000

const lane = (name: string, more: Partial<LaneState> = {}): LaneState => ({ ...newLane(name), ...more })
const done = (name: string, syncedMs: number, more: Partial<LaneState> = {}): LaneState =>
  lane(name, { done: true, syncedMs, ...more })

/** Gmail's shape: `history` is polled, `enum` walks, `drain` takes. */
const gmail = (lanes: LaneState[], more: Partial<PlanInput> = {}): PlanInput => ({
  lanes,
  running: new Set(),
  more: new Set(),
  nowMs: NOW,
  pace: { intervalMs: EVERY, intervalMaxMs: 8 * EVERY },
  newsMs: NOW,
  slot: (NOW % (8 * EVERY)) / (8 * EVERY),
  maxParallel: 3,
  queue: { due: 0, urgent: 0, nextAtMs: null, nextUrgentAtMs: null },
  polled: (name) => name === 'history' || name.startsWith('folder'),
  takes: (name) => (name === 'drain' ? 25 : 0),
  ...more,
})
const waiting = (
  due: number,
  urgent = 0,
  nextAtMs: number | null = null,
  nextUrgentAtMs: number | null = null,
): Pick<PlanInput, 'queue'> => ({ queue: { due, urgent, nextAtMs, nextUrgentAtMs } })

const CASES: [what: string, input: PlanInput, expected: Plan][] = [
  ['nothing to do is nothing to wait for', gmail([]), { start: [], waitUntilMs: null }],
  ['a new lane is walked at once', gmail([lane('history')]), { start: ['history'], waitUntilMs: null }],
  [
    'a polled lane is asked at the next moment of the user',
    gmail([done('history', NOW + 1_000)], { nowMs: NOW + 2_000 }),
    { start: [], waitUntilMs: NOW + EVERY },
  ],
  [
    'a poll that is due goes before the backfill',
    gmail([lane('enum'), done('history', NOW - EVERY)]),
    { start: ['history', 'enum'], waitUntilMs: null },
  ],
  [
    'a poll that has more is repeated at once',
    gmail([done('history', NOW)], { more: new Set(['history']) }),
    { start: ['history'], waitUntilMs: null },
  ],
  [
    'a walk that is over is not repeated',
    gmail([done('enum', 0), done('history', NOW)]),
    { start: [], waitUntilMs: NOW + EVERY },
  ],
  [
    'a refill waits for the backfill',
    gmail([lane('refill'), lane('enum'), done('history', NOW), done('drain', 0)]),
    { start: ['enum'], waitUntilMs: NOW + EVERY },
  ],
  [
    'a refill waits for what is to be fetched, and lets everything be fetched',
    gmail([lane('refill:x'), done('enum', 0), done('history', NOW), done('drain', 0)], waiting(3)),
    { start: ['drain'], waitUntilMs: NOW + EVERY },
  ],
  [
    'a refill goes on when all else is done, behind a poll that is due',
    gmail([lane('refill'), done('enum', 0), done('history', NOW - EVERY), done('drain', 0)]),
    { start: ['history', 'refill'], waitUntilMs: null },
  ],
  [
    'an audit waits for a refill',
    gmail([lane('audit'), lane('refill'), done('enum', 0), done('history', NOW), done('drain', 0)]),
    { start: ['refill'], waitUntilMs: NOW + EVERY },
  ],
  [
    'an audit goes on when all else is done, and ends no walk',
    gmail([lane('audit-stream'), done('enum', 0), done('history', NOW - EVERY), done('drain', 0)]),
    { start: ['history', 'audit-stream'], waitUntilMs: null },
  ],
  [
    'a lane that runs is left alone',
    gmail([lane('enum'), done('history', NOW)], { running: new Set(['enum', 'history']) }),
    { start: [], waitUntilMs: null },
  ],
  [
    'no more lanes than allowed run side by side, and binding counts',
    gmail([lane('enum'), lane('folder:1'), lane('folder:2'), lane('folder:3')], { running: new Set(['']) }),
    { start: ['enum', 'folder:1'], waitUntilMs: null },
  ],
  [
    'a lane waits for its time, whatever it has to do',
    gmail(
      [
        lane('enum', { notBeforeMs: NOW + 5 }),
        done('history', 0, { notBeforeMs: NOW + 7 }),
        done('drain', 0, { notBeforeMs: NOW + 9 }),
      ],
      waiting(3, 3),
    ),
    { start: [], waitUntilMs: NOW + 5 },
  ],
  [
    'what waits is fetched once everything is listed',
    gmail([done('enum', 0), done('drain', 0)], waiting(3)),
    { start: ['drain'], waitUntilMs: null },
  ],
  [
    'while ids are listed old mail is not fetched',
    gmail([lane('enum'), done('drain', 0)], waiting(3)),
    { start: ['enum'], waitUntilMs: null },
  ],
  [
    'while ids are listed new mail is fetched, before the listing goes on',
    gmail([lane('enum'), done('drain', 0)], waiting(3, 1)),
    { start: ['drain', 'enum'], waitUntilMs: null },
  ],
  [
    'a message that failed is fetched again at its time',
    gmail([done('enum', 0), done('drain', 0)], waiting(0, 0, NOW + 60_000)),
    { start: [], waitUntilMs: NOW + 60_000 },
  ],
  [
    'a message that failed and is due is fetched',
    gmail([done('enum', 0), done('drain', 0)], waiting(1, 0, NOW - 1)),
    { start: ['drain'], waitUntilMs: null },
  ],
  [
    'a message that failed does not wake a worker that still lists',
    gmail([lane('enum', { notBeforeMs: NOW + 5 }), done('drain', 0)], waiting(1, 0, NOW - 1)),
    { start: [], waitUntilMs: NOW + 5 },
  ],
  [
    'new mail that failed is fetched again at its time, also while ids are listed',
    gmail([lane('enum'), done('drain', 0)], waiting(1, 0, NOW - 9, NOW - 1)),
    { start: ['drain', 'enum'], waitUntilMs: null },
  ],
  [
    'new mail that failed wakes a worker that still lists at its time',
    gmail([lane('enum', { notBeforeMs: NOW + 9 }), done('drain', 0)], waiting(1, 0, NOW - 1, NOW + 5)),
    { start: [], waitUntilMs: NOW + 5 },
  ],
]
for (const [what, input, expected] of CASES) test(what, () => assert.deepEqual(plan(input), expected))

test('of two hundred polled folders the first is asked each interval, the others every second one', () => {
  const lanes = Array.from({ length: 200 }, (_, i) => done(`folder:${i}`, NOW - EVERY))
  assert.deepEqual(plan(gmail(lanes, { maxParallel: 500 })).start, ['folder:0'])
  const later = plan(gmail(lanes, { maxParallel: 500, nowMs: NOW + EVERY }))
  assert.equal(later.start.length, 200)
})

test('of two hundred folders of a quiet mailbox the same, at the interval in force', () => {
  const lanes = Array.from({ length: 200 }, (_, i) => done(`folder:${i}`, NOW))
  const quiet = { maxParallel: 500, newsMs: NOW - 86_400_000 }
  const first = plan(gmail(lanes, quiet)).waitUntilMs ?? 0
  assert.equal(first, NOW + 8 * EVERY)
  assert.deepEqual(plan(gmail(lanes, { ...quiet, nowMs: first - 1 })).start, [])
  assert.deepEqual(plan(gmail(lanes, { ...quiet, nowMs: first })).start, ['folder:0'])
  assert.equal(plan(gmail(lanes, { ...quiet, nowMs: first + 8 * EVERY })).start.length, 200)
})

test('mail in one folder makes all folders due as often as ever', () => {
  const nowMs = NOW + 4 * EVERY
  const lanes = [done('folder:a', nowMs), done('folder:b', NOW)]
  assert.deepEqual(plan(gmail(lanes, { nowMs, newsMs: NOW - 86_400_000 })).start, [])
  assert.deepEqual(plan(gmail(lanes, { nowMs, newsMs: nowMs })).start, ['folder:b'])
})

test('the longest unasked folder goes first', () => {
  const lanes = [done('folder:a', NOW - EVERY), done('folder:b', NOW - 2 * EVERY), done('folder:c', NOW - EVERY - 1)]
  assert.deepEqual(plan(gmail(lanes, { maxParallel: 2 })).start, ['folder:b', 'folder:c'])
})

test('planning never asks for a time in the past, so that a worker cannot spin', () => {
  for (const [, input] of CASES) {
    const { start, waitUntilMs } = plan(input)
    if (start.length === 0 && waitUntilMs !== null) assert.ok(waitUntilMs > input.nowMs)
  }
})

test('the backfill is over when every walk has ended once and nothing waits', () => {
  assert.equal(backfillDone([], 0), false)
  assert.equal(backfillDone([done('history', 0), lane('enum')], 0), false)
  assert.equal(backfillDone([done('history', 0), done('enum', 0)], 1), false)
  assert.equal(backfillDone([done('history', 0), done('enum', 0)], 0), true)
  assert.equal(backfillDone([done('history', 0), lane('refill')], 0), true, 'a refill brings nothing new')
  assert.equal(backfillDone([done('history', 0), lane('audit'), lane('audit:x')], 0), true, 'nor does an audit')
  assert.equal(backfillDone([lane('refill')], 0), false)
})
