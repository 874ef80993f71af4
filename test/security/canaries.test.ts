/** The search for secrets itself: of a long one its beginning or its end is enough. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Canaries } from './canaries.ts'

test('of a long secret its beginning or its end is found, within base64 wherever it begins', () => {
  const canaries = new Canaries()
  const long = 'ya29.abcdefghijklmnopqrstuvwxyz0123456789'
  canaries.add('long', long)
  for (const cut of [long.slice(0, 20), long.slice(-20), long])
    for (const before of ['', 'x', 'xy']) {
      assert.deepEqual(canaries.in(`${before}${cut}…`), ['long, plain'])
      const base64 = Buffer.from(`${before}${cut} and more`).toString('base64')
      assert.ok(canaries.in(base64).includes('long, base64'), `${before}${cut}`)
    }
  assert.deepEqual(canaries.in(long.slice(5, 25)), [])
  assert.deepEqual(
    canaries.in(long, (name) => name === 'long'),
    [],
  )
  assert.throws(() => canaries.add('short', 'abc'))
})
