/** Gmail in batches, through everything of the service between the simulator and a user's database, in virtual time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Box } from '../catalogue/box.ts'
import type { Fault } from '../simulator/types.ts'

const GET_UNITS = 20
const PART = 'gmail.messages.get'
const BATCH = 'gmail.batch'

/** Parts of each batch that the simulator was sent, and how many of them it refused. */
function batches(box: Box): { parts: number; refused: number }[] {
  const found: { parts: number; refused: number }[] = []
  let parts = 0
  let refused = 0
  for (const { route, batched, status } of box.sim.log()) {
    if (batched) {
      parts++
      if (status === 429) refused++
    }
    if (route !== BATCH) continue
    found.push({ parts, refused })
    parts = 0
    refused = 0
  }
  return found
}

test('a backfill uses the quota of a new project to the full and never overdraws it; new mail comes as fast as ever', async () => {
  await using box = await Box.open('google', { n: 400, latencyMs: () => 150 })
  await box.advance(45_000)
  const stored = box.mail().rows.length
  const id = box.deliver()
  const waitedMs = await box.until('the new mail is there', () => box.mail().rows.includes(id), 120_000)
  // Half a minute to the poll, then the take that is under way: 25 mails at four a second.
  assert.ok(waitedMs <= 40_000, `${waitedMs}`)
  const backfillMs = 45_000 + waitedMs + (await box.untilLive())
  const { must } = box.sim.truth('ada', 'google')
  assert.ok(stored > 0 && stored < must.length)
  const spent = box.requests(PART).length * GET_UNITS
  // Three quarters of the burst are there at once, the rest comes with time.
  const leastMs = ((spent - 750) / 80) * 1_000
  assert.ok(backfillMs <= leastMs / 0.95 + 10_000, `${backfillMs} ms, ${leastMs} at least`)
  const made = batches(box)
  assert.ok(made.length > 0 && made.every(({ parts, refused }) => parts <= 25 && refused === 0))
  const alone = box.requests(PART).filter(({ batched }) => !batched).length
  assert.ok(alone * 10 < box.requests(PART).length, `${alone} of ${box.requests(PART).length} alone`)
  // What is granted within 1.6 s, 96 units each, less the reserve; the first are larger, while the burst lasts.
  assert.deepEqual(
    made.slice(3, -3).filter(({ parts }) => parts > 7),
    [],
  )
  box.assertWhole()
})

test('a large quota makes full batches', async () => {
  await using box = await Box.open('google', {
    n: 200,
    profile: 'fast',
    env: () => ({ MAIL_GMAIL_UNITS_PER_MIN: '600000' }),
  })
  await box.untilLive()
  const made = batches(box)
  assert.ok(made.filter(({ parts }) => parts === 25).length >= 5, JSON.stringify(made))
  assert.equal(box.requests(PART).length, new Set(box.requests(PART).map(({ url }) => url)).size)
  box.assertWhole()
})

test('a Gmail that serves ten at once: batches are halved until they fit and grow back slowly; only refused parts are asked again', async () => {
  await using box = await Box.open('google', {
    n: 150,
    profile: 'fast',
    concurrencyGmail: 10,
    env: () => ({ MAIL_GMAIL_UNITS_PER_MIN: '600000' }),
  })
  await box.untilLive()
  const made = batches(box)
  assert.deepEqual(
    made.slice(0, 3).map(({ parts, refused }) => [parts, refused]),
    [
      [25, 15],
      [12, 2],
      [6, 0],
    ],
  )
  // The last batch of a take may be smaller than it might be.
  let largest = 25
  for (const { parts, refused } of made) {
    assert.ok(parts <= largest + 1, `${parts} after ${largest}`)
    largest = refused > 0 ? Math.floor(parts / 2) : Math.max(largest, parts)
  }
  const served = box.requests(PART).filter(({ status }) => status === 200)
  assert.equal(served.length, new Set(served.map(({ url }) => url)).size, 'none was got twice')
  assert.ok(box.seen.some(({ code }) => code === 'THROTTLED'))
  box.assertWhole()
})

const WHOLE: Fault[] = [
  { type: '429', retryAfter: 20 },
  { type: '403rate', retryAfter: 20 },
  { type: '503', retryAfter: 20 },
  { type: '500' },
  { type: '502html' },
  { type: 'htmlOk' },
  { type: 'emptyBody' },
  { type: 'truncate', mode: 'clean' },
  { type: 'truncate', mode: 'content-length' },
  { type: 'truncate', mode: 'chunked' },
  { type: 'reset', when: 'before' },
  { type: 'reset', when: 'midBody' },
  { type: 'hang' },
  { type: 'slow', bytesPerSec: 20 },
  { type: 'gzipBomb' },
  { type: '401untilRefresh' },
  { type: '403scope' },
  { type: '400precondition' },
]
for (const fault of WHOLE)
  test(`a batch that meets ${Object.values(fault).join(' ')} leaves no mail behind`, async () => {
    await using box = await Box.open('google', { n: 40 })
    // A token that is refused after it was renewed ends the grant.
    const times = fault.type === '401untilRefresh' ? 1 : 2
    box.fault(fault, { route: BATCH }, times)
    await box.untilLive()
    assert.equal(box.requests(BATCH).filter((entry) => entry.fault === fault.type).length, times)
    box.assertWhole()
  })

test('where no batch is ever answered, each mail comes by itself', async () => {
  await using box = await Box.open('google', { n: 40 })
  box.fault({ type: '500' }, { route: BATCH })
  await box.untilLive()
  assert.ok(box.requests(PART).every(({ batched }) => !batched))
  box.assertWhole()
})
