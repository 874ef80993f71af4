/** What the protocol asks of the times of leases holds for every configuration that the start lets through. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readConfig } from '../../../services/mail/base/config.ts'
import { leaseTimes } from '../../../services/mail/owner/lease-times.ts'
import { EXIT_CONFIG, ExitError } from '../../../shared/lifecycle.ts'
import { fc } from '../../support/fast-check.ts'

const [LEAST_MS, MOST_MS] = [1_000, 120_000]
/** A release waits so long for events in flight. */
const FLUSH_MS = 3_000

const silenceOf = (text: string): number =>
  readConfig({ BETTER_AUTH_JWKS_URL: 'http://127.0.0.1:9/jwks', MAIL_LEASE_SILENCE_MS: text }).silenceMs

test('the times of leases at the default silence', () => {
  assert.deepEqual(leaseTimes(silenceOf('')), {
    silenceMs: 6_000,
    heartbeatMs: 1_500,
    requestMs: 1_000,
    marginMs: 600,
    scanMs: 250,
    drainMs: 10_000,
    joinDebounceMs: 1_200,
    firstBeatMs: 750,
    blindMs: 6_000,
  })
})

test('the times of leases fit together at every silence that can be configured', () => {
  const silences = fc.oneof(fc.integer({ min: LEAST_MS, max: MOST_MS }), fc.constantFrom(LEAST_MS, MOST_MS))
  fc.assert(
    fc.property(silences, (given) => {
      const times = leaseTimes(silenceOf(String(given)))
      const { silenceMs, heartbeatMs, firstBeatMs, requestMs, marginMs, scanMs, drainMs, joinDebounceMs } = times
      const rules = {
        'all are whole and positive': Object.values(times).every((ms) => Number.isSafeInteger(ms) && ms > 0),
        'a heartbeat and its answer fit into a term': heartbeatMs + requestMs + marginMs < silenceMs,
        'one lost heartbeat does not end a term': 2 * heartbeatMs + requestMs + marginMs < silenceMs,
        'one heartbeat is answered or given up before the next': requestMs < heartbeatMs,
        'a look at the others comes before a margin has passed': scanMs < marginMs,
        'a member that has just joined beats before users go to it': firstBeatMs + scanMs < joinDebounceMs,
        'users go to it before it could count as dead': joinDebounceMs + scanMs < silenceMs,
        'the others are told, and events in flight end, within the drain limit': requestMs + FLUSH_MS < drainMs,
      }
      for (const [rule, holds] of Object.entries(rules)) assert.ok(holds, `${rule}: ${JSON.stringify(times)}`)
    }),
    { numRuns: 2_000 },
  )
})

test('any other silence is refused at the start, in one line that says what is expected', () => {
  const outside = fc.oneof(
    fc.integer({ max: LEAST_MS - 1 }).map(String),
    fc.integer({ min: MOST_MS + 1 }).map(String),
    fc.constantFrom('6000.5', '6e3', '0x1770', '6 s', 'NaN', '-6000', ' '),
  )
  fc.assert(
    fc.property(outside, (text) => {
      assert.throws(
        () => silenceOf(text),
        (error) =>
          error instanceof ExitError &&
          error.exitCode === EXIT_CONFIG &&
          /^MAIL_LEASE_SILENCE_MS must be a whole number from 1000 to 120000: [^\n]+$/.test(error.message),
      )
    }),
  )
})
