import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { retryAfterMs } from '../../../services/mail/provider/retry-after.ts'

const NOW_MS = Date.parse('2026-09-11T20:00:00Z')
const wait = (retryAfter: string, { date = '', message = '' } = {}) =>
  retryAfterMs(
    new Headers({ ...(retryAfter && { 'retry-after': retryAfter }), ...(date && { date }) }),
    message,
    NOW_MS,
  )

describe('an announced wait', () => {
  it('is measured by the clock of the provider when the answer has a Date', () => {
    const date = 'Fri, 11 Sep 2020 19:59:00 GMT'
    assert.equal(wait('Fri, 11 Sep 2020 20:00:00 GMT', { date }), 60_000)
    assert.equal(wait('Fri, 11 Sep 2020 19:00:00 GMT', { date }), 0)
  })

  it('is measured by our clock when the answer has no Date, or none that can be read', () => {
    assert.equal(wait('Fri, 11 Sep 2026 20:01:17 GMT'), 77_000)
    assert.equal(wait('Fri, 11 Sep 2026 20:01:17 GMT', { date: 'soon' }), 77_000)
    assert.equal(wait('', { message: 'Retry after 2026-09-11T20:01:17.000Z' }), 77_000)
  })

  it('is at most an hour by our clock, and unknown when it has passed by it', () => {
    assert.equal(wait('Sat, 11 Sep 2027 20:00:00 GMT'), 3_600_000)
    assert.equal(wait('Fri, 11 Sep 2026 20:00:00 GMT'), undefined)
  })

  it('is unknown when nothing usable was announced', () => {
    for (const value of ['', 'soon', '-5', '1.5']) assert.equal(wait(value), undefined, value)
    assert.equal(wait('7'), 7_000)
  })
})
