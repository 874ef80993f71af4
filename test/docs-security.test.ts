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
