import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Late } from '../../../services/mail/app/late.ts'
import { together } from '../../../services/mail/base/together.ts'

test('what is made of a late part waits for it, and then is done at once and in order', async () => {
  const late = new Late<string>()
  const seen: string[] = []
  late.use((part) => seen.push(`${part} 1`))
  late.use((part) => seen.push(`${part} 2`))
  assert.equal(late.now, null)
  const waiting = late.arrived
  late.arrive('part')
  assert.equal(await waiting, 'part')
  late.use((part) => seen.push(`${part} 3`))
  assert.equal(late.now, 'part')
  assert.deepEqual(seen, ['part 1', 'part 2', 'part 3'])
})

test('of a part that does not arrive those are told who wait, and nothing else is done', async () => {
  const late = new Late<string>()
  const seen: string[] = []
  late.use((part) => seen.push(part))
  late.fail(new Error('not there'))
  await assert.rejects(late.arrived, /not there/)
  assert.deepEqual(seen, [])
  assert.equal(late.now, null)
})

test('together waits for all of them, and throws what the first in order throws', async () => {
  const last = Promise.withResolvers<string>()
  const all = together(last.promise, Promise.reject(new Error('second')), Promise.reject(new Error('third')))
  let settled = false
  void all.catch(() => {
    settled = true
  })
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(settled, false)
  last.resolve('first')
  await assert.rejects(all, /second/)
  assert.deepEqual(await together(Promise.resolve(1), Promise.resolve('b')), [1, 'b'])
})
