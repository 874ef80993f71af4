/** A Secret shows its value to nobody who does not ask for it by name. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { format, inspect } from 'node:util'
import { serialize } from 'node:v8'
import { pino } from 'pino'
import { describeError } from '#shared/log.ts'
import { Secret } from '#shared/secret.ts'

const VALUE = 'canary-7d20'
const HIDDEN = '[redacted]'
const secret = new Secret(VALUE)

function logged(facts: object): string {
  const lines: string[] = []
  pino({ serializers: { err: describeError } }, { write: (line) => lines.push(line) }).error(facts, 'failed')
  return lines.join('')
}

/** Each way to print one, and whether it says that something is hidden. */
const WAYS: Record<string, [print: () => string, says: boolean]> = {
  'String()': [() => String(secret), true],
  'its toString': [() => secret.toString(), true],
  'its toLocaleString': [() => secret.toLocaleString(), true],
  'a template': [() => `Bearer ${secret}`, true],
  'a sum': [() => ['Bearer ', secret].join(''), true],
  'its toJSON': [() => secret.toJSON(), true],
  'JSON, deep inside': [() => JSON.stringify({ a: [{ token: secret }] }), true],
  'an inspection': [() => inspect(secret), true],
  'inspect of all that is hidden': [() => inspect({ a: [secret] }, { showHidden: true, depth: null }), true],
  'inspect without custom inspection': [() => inspect(secret, { customInspect: false, showHidden: true }), false],
  'a format': [() => format('%s %o %O %j', secret, secret, secret, secret), true],
  'the cause of an error': [() => inspect(new Error('x', { cause: secret })), true],
  'a field of an error': [() => inspect(Object.assign(new Error('x'), { token: secret })), true],
  'the text of an error': [() => String(new Error(`refused: ${secret}`).stack), true],
  'a line of the log': [() => logged({ token: secret }), true],
  'a cause in the log': [() => logged({ err: new Error('x', { cause: secret }) }), false],
  'a clone': [() => inspect(structuredClone(secret), { showHidden: true }), false],
  'a clone of what has one': [() => JSON.stringify(structuredClone({ secret })), false],
  'a copy': [() => JSON.stringify({ ...secret }), false],
  'its properties': [() => Reflect.ownKeys(secret).join(), false],
  'bytes of v8': [() => serialize(secret).toString('latin1'), false],
  'a form': [() => new URLSearchParams([['token', secret as unknown as string]]).toString(), false],
  'a header': [() => new Headers([['x', secret as unknown as string]]).get('x') ?? '', true],
}

for (const [name, [print, says]] of Object.entries(WAYS))
  test(`a secret is not printed: ${name}`, () => {
    const printed = print()
    assert.ok(!printed.includes(VALUE), printed)
    if (says) assert.ok(printed.includes(HIDDEN), printed)
  })

test('who asks for its value gets it', () => {
  assert.equal(secret.reveal(), VALUE)
})
