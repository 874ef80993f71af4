/** SECURITY.md: each threat and each chapter of ASVS has its row, and what a row names is a test that `make test` runs. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { codesIn, readDoc, tableOf } from './support/docs.ts'

const ROOT = join(import.meta.dirname, '..')
const numbered = (letter: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${letter}${i + 1}`)

test('each threat and each chapter has one row', () => {
  const security = readDoc('SECURITY.md')
  const numbersOf = (table: string) => tableOf(security, table).map(([number]) => number)
  assert.deepEqual(numbersOf('shown threats'), numbered('T', 16))
  assert.deepEqual(numbersOf('asvs'), numbered('V', 14))
})

test('what shows it is a test of make test; only webhooks, which do not exist, have none', () => {
  const security = readDoc('SECURITY.md')
  const rows = [...tableOf(security, 'shown threats'), ...tableOf(security, 'asvs')]
  const bare = rows.filter((row) => codesIn(row.at(-1) ?? '').length === 0).map(([number]) => number)
  assert.deepEqual(bare, ['T6'])
  const named = rows.flatMap((row) => codesIn(row.at(-1) ?? ''))
  for (const path of new Set(named)) {
    assert.match(path, /^test\/(?!system\/).+\.test\.ts$/)
    assert.ok(existsSync(join(ROOT, path)), path)
    assert.match(readFileSync(join(ROOT, path), 'utf8'), /^\s*(?:test|it)\(/m, `${path} has no test`)
  }
})

/** Titles of tests as they are written; of those that a loop makes, what stands before the case: `title: ${of}`. */
const titlesOf = (path: string): string[] =>
  [...readFileSync(join(ROOT, path), 'utf8').matchAll(/^\s*(?:test|it)\((['"`])(.+?)(?:: \$\{\w+\})?\1/gm)].map(
    ([, , title = '']) => title,
  )

test('where a file has several tests, the row of a chapter names the title of one', () => {
  const rows = tableOf(readDoc('SECURITY.md'), 'asvs')
  for (const [chapter, , , shown = ''] of rows)
    for (const [, path = '', title] of shown.matchAll(/`([^`]+)`(?: “([^”]+)”)?/g)) {
      const titles = titlesOf(path)
      if (title !== undefined) assert.ok(titles.includes(title), `${chapter}: ${path} has no test “${title}”`)
      else assert.ok(titles.length <= 1, `${chapter}: which test of ${path}?`)
    }
})
