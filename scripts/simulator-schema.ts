/**
 * Writes `test/simulator/schema/vendor.json`: JSON Schema of the vendors' own types of Gmail and Graph answers.
 * Run it after an update of `googleapis` or `@microsoft/microsoft-graph-types`:  node scripts/simulator-schema.ts
 */
import { writeFileSync } from 'node:fs'
import { createGenerator, type Schema } from 'ts-json-schema-generator'

const folder = new URL('../test/simulator/schema/', import.meta.url)

/** Descriptions are left out: they are most of the bytes and check nothing. */
function withoutTexts(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutTexts)
  if (value === null || typeof value !== 'object') return value
  const kept = Object.entries(value).filter(([name, one]) => name !== 'description' || typeof one !== 'string')
  return Object.fromEntries(kept.map(([name, one]) => [name, withoutTexts(one)]))
}

/** The generator names inner types by file offsets; numbers in order of appearance do not change with the machine. */
function withStableNames(text: string): string {
  const names = new Map<string, string>()
  return text.replaceAll(/(?:def-)?(?:interface|alias)-[\d-]+/g, (name) => {
    names.set(name, names.get(name) ?? `inner-${names.size + 1}`)
    return names.get(name) ?? name
  })
}

const schema: Schema = createGenerator({
  path: new URL('vendor-types.ts', folder).pathname,
  tsconfig: new URL('../tsconfig.json', import.meta.url).pathname,
  type: '*',
  skipTypeCheck: true,
}).createSchema('*')
const note =
  'Made by scripts/simulator-schema.ts from the types of @googleapis/gmail (Apache-2.0) and @microsoft/microsoft-graph-types (MIT). Not edited by hand.'
const text = JSON.stringify({ $comment: note, ...(withoutTexts(schema) as object) })
writeFileSync(new URL('vendor.json', folder), `${withStableNames(text)}\n`)
