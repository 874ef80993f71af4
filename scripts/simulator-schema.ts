/**
 * Writes `test/simulator/schema/vendor.json`: JSON Schema of the vendors' own types of Gmail and Graph answers.
 * Run it after an update of `googleapis` or `@microsoft/microsoft-graph-types`, and format what it wrote:
 *   node scripts/simulator-schema.ts && npx biome format --write --config-path=.biome.json test/simulator/schema
 */
import { writeFileSync } from 'node:fs'
import { createGenerator, type Schema } from 'ts-json-schema-generator'

const folder = new URL('../test/simulator/schema/', import.meta.url)

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
  // Comments carry markers that are no JSON Schema, and most of the bytes.
  jsDoc: 'none',
}).createSchema('*')
const note =
  'Made by scripts/simulator-schema.ts from the types of @googleapis/gmail (Apache-2.0) and @microsoft/microsoft-graph-types (MIT). Not edited by hand.'
const text = JSON.stringify({ $comment: note, ...schema })
writeFileSync(new URL('vendor.json', folder), `${withStableNames(text)}\n`)
