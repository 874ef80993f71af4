import assert from 'node:assert/strict'
import { join, normalize, sep } from 'node:path'
import { test } from 'node:test'
import { AppError } from '#shared/errors.ts'
import { decodeUser, encodeUser } from '#shared/user-token.ts'
import { NASTY } from '../security/random-ids.ts'
import { fc } from '../support/fast-check.ts'

const RUNS = { numRuns: 2_000, seed: 20_240_101 }
/** At most 60 code units: their token is never longer than 180 characters. */
const userId = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 19 }),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 6 }),
  fc.constantFrom(...NASTY),
  fc.stringMatching(/^[A-Za-z0-9_-]{1,60}$/),
)
const usable = userId.filter((id) => id.isWellFormed() && Buffer.byteLength(id) <= 60)
const refused = (error: unknown): boolean => error instanceof AppError && error.code === 'BAD_USER_ID'

test('every user id comes back from its token', () => {
  fc.assert(
    fc.property(usable, (id) => decodeUser(encodeUser(id)) === id),
    RUNS,
  )
})

test('two user ids never share a token', () => {
  fc.assert(
    fc.property(usable, usable, (a, b) => (a === b) === (encodeUser(a) === encodeUser(b))),
    RUNS,
  )
})

test('a token is one subject token, one KV key part and one folder name below its base', () => {
  fc.assert(
    fc.property(usable, (id) => {
      const token = encodeUser(id)
      assert.match(token, /^[A-Za-z0-9_=-]{1,180}$/)
      assert.equal(normalize(join('base', token)), `base${sep}${token}`)
    }),
    RUNS,
  )
})

test('what is no canonical token is refused and never decoded to something else', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ maxLength: 30 }), fc.stringMatching(/^[A-Za-z=0-9]{1,12}$/)), (text) => {
      try {
        return encodeUser(decodeUser(text)) === text
      } catch (error) {
        return refused(error)
      }
    }),
    RUNS,
  )
})

test('simple ids are their own token; empty, ill-formed and long ids are refused', () => {
  assert.equal(encodeUser('user_abc123'), 'user_abc123')
  assert.equal(encodeUser('../../etc'), '=2E=2E=2F=2E=2E=2Fetc')
  assert.equal(encodeUser('a.b*>\0 '), 'a=2Eb=2A=3E=00=20')
  assert.equal(encodeUser('a'.repeat(180)).length, 180)
  for (const id of ['', '\uD800', 'a'.repeat(181), 'é'.repeat(31)]) assert.throws(() => encodeUser(id), refused)
  for (const token of ['', '=41', '=c3=a9', '=FF', 'a.b', '=4', '='.repeat(181)])
    assert.throws(() => decodeUser(token), refused)
})
