import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LoopLag } from '../../../services/mail/base/loop-lag.ts'
import { until } from '../../support/until.ts'
import { ManualClock } from './manual-clock.ts'

function block(ms: number): void {
  const endMs = performance.now() + ms
  while (performance.now() < endMs);
}

test('the lag of the event loop is what blocked it, is seen for half a minute at least, and is forgotten after one', async (t) => {
  const clock = new ManualClock()
  const stop = new AbortController()
  const lag = new LoopLag()
  assert.deepEqual(lag.figures(), { p50: 0, p99: 0, max: 0 }, 'before it has measured anything')
  const running = lag.run(clock, stop.signal)
  t.after(async () => {
    stop.abort()
    await running
  })
  await until('a block was measured', () => {
    block(150)
    return lag.figures().max >= 100
  })
  const { p50, p99, max } = lag.figures()
  assert.ok(p50 <= p99 && p99 <= max)
  await clock.advance(30_000)
  assert.ok(lag.figures().max >= 100, 'seen after half a minute')
  await clock.advance(30_000)
  assert.equal(lag.figures().max < 100, true, 'forgotten after a minute')
})
