import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { AppError } from '#shared/errors.ts'
import { describeError } from '#shared/log.ts'
import { createRefusals } from '../../services/http/refusals.ts'

type Line = { level: number; code: string; details?: unknown; left_out?: number; err?: unknown }

function refusals() {
  const lines: Line[] = []
  const log = pino(
    { level: 'debug', serializers: { err: describeError } },
    { write: (line) => lines.push(JSON.parse(line)) },
  )
  const clock = { nowMs: 0 }
  return { lines, clock, ...createRefusals(log, () => clock.nowMs) }
}

test('an expected failure is one line per code and second, without a stack, with a count of those left out', () => {
  const { lines, clock, tell } = refusals()
  const away = new AppError('NO_INSTANCE', { nats: 'connected' }, { cause: new Error('no responders') })
  for (let i = 0; i < 400; i++) tell(away, 'r')
  tell(new AppError('TIMEOUT', { timeout_ms: 3000 }), 'r')
  assert.deepEqual(
    lines.map(({ code, details, left_out, err }) => [code, details, left_out, err]),
    [
      ['NO_INSTANCE', { nats: 'connected' }, 0, undefined],
      ['TIMEOUT', { timeout_ms: 3000 }, 0, undefined],
    ],
  )
  clock.nowMs = 1_000
  tell(away, 'r')
  assert.deepEqual([lines.length, lines.at(-1)?.left_out], [3, 399])
  clock.nowMs = 2_000
  tell(away, 'r')
  assert.deepEqual([lines.length, lines.at(-1)?.left_out], [4, 0])
})

test('each failure of ours is logged with its stack', () => {
  const { lines, tell } = refusals()
  for (let i = 0; i < 3; i++) tell(new AppError('INTERNAL', {}, { cause: new TypeError('x') }), 'r')
  assert.equal(lines.length, 3)
  for (const { err } of lines) assert.match(JSON.stringify(err), /TypeError/)
})

test('what a caller has sent wrongly is a debug line that does not repeat it', () => {
  const { lines, tell } = refusals()
  tell(new AppError('BAD_REQUEST', { issues: [{ path: 'CANARY', expected: 'no such field' }] }), 'r')
  assert.deepEqual([lines.length, lines[0]?.level], [1, 20])
  assert.doesNotMatch(JSON.stringify(lines), /CANARY/)
})
