/** What an error leaves in the log: enough to find it, and none of the text that others put into theirs. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pino } from 'pino'
import { AppError } from '#shared/errors.ts'
import { describeError, OWN_ERRORS } from '#shared/log.ts'

const ROOT = join(import.meta.dirname, '../..')

/** What `work` throws. */
function thrownBy(work: () => unknown): unknown {
  try {
    work()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}
function logged(error: unknown): string {
  const lines: string[] = []
  const log = pino({ serializers: { err: describeError } }, { write: (line) => lines.push(line) })
  log.error({ err: error }, 'failed')
  return lines.join('')
}

const FOREIGN: Record<string, () => unknown> = {
  'a header with a line break': () => new Headers().append('authorization', 'Bearer CANARY-a\nCANARY-b'),
  'a text that is no JSON': () => JSON.parse('CANARY'),
  'a text that looks like a frame': () => {
    throw new Error('first\n    at CANARY (file.ts:1:1)')
  },
  'a message that was changed later': () => {
    const error = new Error('CANARY\n    at CANARY')
    assert.ok(error.stack)
    throw Object.assign(error, { message: 'other' })
  },
  'a name and a code that are sentences': () => {
    throw Object.assign(new Error('x'), { name: 'the CANARY\n', code: 'the CANARY is here' })
  },
  'other fields': () => {
    throw Object.assign(new Error('x'), { config: { token: 'CANARY' }, response: 'CANARY' })
  },
  'a thrown text': () => {
    throw 'CANARY'
  },
}

for (const [name, work] of Object.entries(FOREIGN))
  test(`the text of a foreign exception is never logged, also not as a cause: ${name}`, () => {
    const error = thrownBy(work)
    assert.match(`${String(error)}${JSON.stringify(error)}${error instanceof Error ? error.stack : ''}`, /CANARY/)
    assert.doesNotMatch(logged(error), /CANARY/)
    assert.doesNotMatch(logged(new AppError('INTERNAL', {}, { cause: error })), /CANARY/)
  })

test('type, code and the place of a foreign exception are logged', () => {
  const error = Object.assign(new TypeError('CANARY\nCANARY'), { code: 'ERR_INVALID_ARG_TYPE' })
  const { type, code, stack, ...rest } = describeError(error) as Record<string, string>
  assert.deepEqual([type, code, rest], ['TypeError', 'ERR_INVALID_ARG_TYPE', {}])
  assert.match(stack ?? '', /^ {4}at .*log\.test\.ts:\d+:\d+/)
})

test('an error of ours keeps its message, and its causes are told after it', () => {
  const cause = new TypeError('CANARY')
  const described = describeError(new AppError('NO_INSTANCE', {}, { cause })) as Record<string, unknown>
  assert.equal(described.type, 'AppError')
  assert.equal(described.code, 'NO_INSTANCE')
  assert.match(String(described.message), /^NO_INSTANCE: /)
  assert.equal((described.cause as { type: string }).type, 'TypeError')
})

test('a chain of causes that goes round in a circle ends', () => {
  const error = new Error('a')
  error.cause = new Error('b', { cause: error })
  assert.ok(logged(error).length < 10_000)
})

test('the error classes of ours are exactly those that the sources define', () => {
  const sources = globSync(['shared/*.ts', 'services/{mail,http}/**/*.ts'], { cwd: ROOT })
  const text = sources.map((path) => readFileSync(join(ROOT, path), 'utf8')).join('\n')
  const defined = [...text.matchAll(/class (\w+) extends \w*Error\b/g)].map(([, name]) => name ?? '')
  assert.deepEqual([...OWN_ERRORS].toSorted(), defined.toSorted(), 'OWN_ERRORS in shared/log.ts names another set')
})
