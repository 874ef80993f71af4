import assert from 'node:assert/strict'
import { test } from 'node:test'
import { anchorsOf, blocksOf, codeIn, type Doc, inlineCodesOf, linksOf, tableOf } from './docs.ts'

const doc = (...lines: string[]): Doc => ({ path: 'sample.md', text: `${lines.join('\n')}\n` })

test('a table is found by its name; without one, or with a row of another length, it is an error', () => {
  const table = ['<!-- table: states -->', '| A | B |', '|---|---|', '| `x` | one |', '| `y` | |', '', '| not | it |']
  assert.deepEqual(tableOf(doc(...table), 'states'), [
    ['`x`', 'one'],
    ['`y`', ''],
  ])
  assert.throws(() => tableOf(doc(...table), 'metrics'), /no table "metrics"/)
  assert.throws(() => tableOf(doc(...table.slice(0, 3)), 'states'), /is empty/)
  assert.throws(() => tableOf(doc(...table.slice(0, 4), '| z | two | three |'), 'states'), /has 3 cells/)
  assert.throws(() => codeIn('`a` `b`'), /not one code/)
})

test('a code block has its language, name and line; what stands in it is no link, no heading and no inline code', () => {
  const sample = doc('# A `b` c: d!', '', '```ts file=x.ts', '# no heading', '[no](link.md) `no`', '```', '[a](b.md#c)')
  const [block] = blocksOf(sample)
  assert.deepEqual([block?.language, block?.file, block?.line], ['ts', 'x.ts', 3])
  assert.deepEqual(linksOf(sample), ['b.md#c'])
  assert.deepEqual(inlineCodesOf(sample), ['b'])
  assert.deepEqual([...anchorsOf(sample)], ['a-b-c-d'])
})
