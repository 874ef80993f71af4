/** UUIDs that Node or a few lines make, against those of the package. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { v5, version } from 'uuid'
import { passId, termId } from '#shared/trail.ts'
import { uuidV5, uuidV7 } from '#shared/uuid.ts'

const NAMESPACE = '5b0b5cf4-6f8f-4f0a-9a51-3d7a2f3c9e18'
const BYTES = Buffer.from(NAMESPACE.replaceAll('-', ''), 'hex')

test('the same name gives the id that the package gives it', () => {
  for (let n = 0; n < 1_000; n++) assert.equal(uuidV5(BYTES, `${n}😀`), v5(`${n}😀`, NAMESPACE))
})

test('records of the trail keep the ids that they had', () => {
  assert.equal(termId('ada', { era: 1, rev: 2 }), v5('["ada",1,2]', NAMESPACE))
  assert.equal(passId('r', 'a', 'k2'), v5('["r","a","k2"]', NAMESPACE))
})

test('new ids are UUIDs in order of time', async () => {
  const ids: string[] = []
  for (let n = 0; n < 20; n++) {
    ids.push(uuidV7())
    const now = Date.now()
    while (Date.now() === now) await new Promise(setImmediate)
  }
  assert.deepEqual(new Set(ids.map(version)), new Set([7]))
  assert.deepEqual(ids.toSorted(), ids)
})
