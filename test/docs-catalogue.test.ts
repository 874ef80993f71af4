/** docs/catalogue.md against the tests, both ways: each row names a test, and each test of the catalogue has a row. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readDoc, tableOf } from './support/docs.ts'

const ROOT = join(import.meta.dirname, '..')
const LEAST = 45

/** Titles as the sources spell them; what a loop puts in is an ellipsis. */
const titlesOf = (pattern: string): string[] =>
  globSync(pattern, { cwd: ROOT }).flatMap((path) =>
    [...readFileSync(join(ROOT, path), 'utf8').matchAll(/^ *(?:test|it)\(\s*(['`])(.*?)\1,/gms)].map(
      ([, , title = '']) => title.replaceAll(/\$\{[^}]*\}/g, '…'),
    ),
  )

test('the table of the catalogue is its tests, each named after the thread that it comes from', () => {
  const rows = tableOf(readDoc('docs/catalogue.md'), 'catalogue')
  const titles = titlesOf('test/{catalogue/*,system/five-percent}.test.ts').filter((title) =>
    /^[\w./ -]+(?: #\d+)?: /.test(title),
  )
  assert.deepEqual(
    rows.map(([, thread = '', title = '']) => `${thread}: ${title}`).toSorted(),
    [...new Set(titles)].toSorted(),
  )
  const faults = new Set(rows.map(([fault]) => fault))
  assert.equal(faults.size, rows.length, 'a fault twice')
  assert.ok(faults.size >= LEAST)
})

test('faults whose answer is shown elsewhere name tests that exist', () => {
  const titles = new Set(titlesOf('test/**/*.test.ts'))
  for (const [fault, title = ''] of tableOf(readDoc('docs/catalogue.md'), 'elsewhere'))
    assert.ok(titles.has(title), `${fault}: ${title}`)
})
