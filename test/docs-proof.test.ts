/** docs/proof.md names every control arm of the tests, and none that does not exist. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { BLOWS } from './chaos/blows.ts'
import { codeIn, readDoc, tableOf } from './support/docs.ts'

const ROOT = join(import.meta.dirname, '..')
/** Of the simulation, which has a table of its own; and of what the tests themselves stand on. */
const OTHERS = new Set(['test/sim/sim.test.ts', 'test/support/reset.test.ts'])

test('the table of control arms is that of the tests', () => {
  const found = globSync('test/**/*.test.ts', { cwd: ROOT })
    .filter((path) => !OTHERS.has(path))
    .flatMap((path) =>
      [...readFileSync(join(ROOT, path), 'utf8').matchAll(/test\((['`])control: (.+?)\1/g)].map(
        ([, , title = '']) => `${title} ${path}`,
      ),
    )
  const told = tableOf(readDoc('docs/proof.md'), 'controls').map(
    ([, title = '', path = '']) => `${title} ${codeIn(path)}`,
  )
  assert.deepEqual(told.toSorted(), found.toSorted())
})

test('each blow of the chaos is told', () => {
  const { text } = readDoc('docs/proof.md')
  const told = [...text.matchAll(/^\| ([\w, ]+) \|/gm)].flatMap(([, names = '']) => names.split(', '))
  for (const name of Object.keys(BLOWS)) assert.ok(told.includes(name), name)
})
