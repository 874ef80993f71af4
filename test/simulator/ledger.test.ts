import assert from 'node:assert/strict'
import test from 'node:test'
import { createLedger } from './ledger.ts'
import type { Answer } from './types.ts'

const START = Date.UTC(2026, 5, 1)

function ledgerAt(start: number) {
  let now = start
  const advance = (ms: number): void => {
    now += ms
  }
  const clock = { now: () => now, advance }
  return {
    clock,
    ledger: createLedger(
      { profile: '2026-05', graceMs: 0, monoMs: () => performance.now(), projectPerMin: undefined },
      clock,
    ),
  }
}

const reasonOf = (answer: Answer | null) =>
  (answer?.body as { error: { errors?: { reason: string }[] } } | undefined)?.error.errors?.[0]?.reason

test('a Graph mailbox has 10,000 requests in ten minutes, and asking again keeps the window full', () => {
  const { clock, ledger } = ledgerAt(START)
  for (let at = 0; at < 10_000; at++) assert.equal(ledger.charge('microsoft', 'u1', 'graph.messages.get', true), null)
  const refused = ledger.charge('microsoft', 'u1', 'graph.messages.get', true)
  assert.deepEqual([refused?.status, refused?.headers?.['retry-after']], [429, '600'])
  assert.equal(ledger.charge('microsoft', 'u2', 'graph.messages.get', true), null)
  clock.advance(600_000)
  assert.equal(ledger.charge('microsoft', 'u1', 'graph.messages.get', true), null)
  assert.equal(ledger.snapshot().overdraft, 1)
})

test('the minute of a Gmail mailbox slides: units come back as they were used', () => {
  const { clock, ledger } = ledgerAt(START)
  const get = () => ledger.charge('google', 'u1', 'gmail.messages.get', true)
  for (let at = 0; at < 150; at++) assert.equal(get(), null)
  clock.advance(30_000)
  for (let at = 0; at < 150; at++) assert.equal(get(), null)
  const refused = get()
  assert.match(JSON.stringify(refused?.body), new RegExp(new Date(START + 60_000).toISOString()))
  clock.advance(30_000)
  for (let at = 0; at < 150; at++) assert.equal(get(), null)
  assert.equal(reasonOf(get()), 'userRateLimitExceeded')
})

test('two hundred busy mailboxes fill the minute of a project', () => {
  const { ledger } = ledgerAt(START)
  for (let user = 0; user < 200; user++) {
    for (let at = 0; at < 300; at++) assert.equal(ledger.charge('google', `u${user}`, 'gmail.messages.get', true), null)
  }
  const refused = ledger.charge('google', 'one-more', 'gmail.profile', true)
  assert.equal(reasonOf(refused), 'rateLimitExceeded')
  assert.deepEqual([ledger.snapshot().project.used, ledger.snapshot().project.day], [1_200_000, 1_200_000])
})

test('requests that were already in flight when the pause was announced are not early', () => {
  const { ledger } = ledgerAt(START)
  ledger.enter('google', 'u1')
  ledger.enter('google', 'u1')
  ledger.announce('google', 'u1', START + 5000)
  ledger.enter('google', 'u1')
  assert.equal(ledger.snapshot().earlyRetries, 0, 'the announcement is still on its way')
  ledger.leave('google', 'u1')
  ledger.enter('google', 'u1')
  assert.equal(ledger.snapshot().earlyRetries, 1)
})
