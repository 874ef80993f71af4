/**
 * The one import of drizzle-orm. Node reads the package.json of a package anew for each of its ES modules, and drizzle's
 * is 180 KB: the import takes 0.8 s and 190 MB at every start. Its CommonJS build is the same code in 0.1 s.
 */
import { createRequire } from 'node:module'

// drizzle-kit reads the schema as CommonJS, where `import.meta` is empty.
const load = createRequire(import.meta.url ?? __filename)

export const { and, asc, count, desc, eq, gt, gte, isNotNull, isNull, lt, lte, max, min, or, sql } = load(
  'drizzle-orm',
) as typeof import('drizzle-orm')
export const { blob, index, integer, primaryKey, sqliteTable, text, uniqueIndex } = load(
  'drizzle-orm/sqlite-core',
) as typeof import('drizzle-orm/sqlite-core')
export const { drizzle } = load('drizzle-orm/better-sqlite3') as typeof import('drizzle-orm/better-sqlite3')
export const { migrate } = load(
  'drizzle-orm/better-sqlite3/migrator',
) as typeof import('drizzle-orm/better-sqlite3/migrator')

/** What drizzle keeps of a prepared statement, and how a session makes one of it. No type of drizzle tells. */
type Prepared = {
  query: unknown
  fields: unknown
  executeMethod: unknown
  customResultMapper: unknown
  joinsNotNullableMap: unknown
  isResponseInArrayMode(): boolean
}
type Session = { prepareQuery(...of: unknown[]): Prepared }

/** The same statement on another database, of the same text: building it again costs more than most statements. */
export function prepareAgain<S extends object>(statement: S, db: object): S {
  const { session } = db as { session: Session }
  const model = statement as unknown as Prepared
  const { query, fields, executeMethod, customResultMapper, joinsNotNullableMap } = model
  const copy = session.prepareQuery(query, fields, executeMethod, model.isResponseInArrayMode(), customResultMapper)
  copy.joinsNotNullableMap = joinsNotNullableMap
  return copy as unknown as S
}
