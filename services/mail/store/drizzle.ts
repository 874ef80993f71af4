/** Drizzle's words for schema and statements. Whoever imports this loads drizzle-orm: nothing that is needed for a start does. */
import { loadDrizzle as load } from './query-builder.ts'

export const { and, asc, count, desc, eq, gt, gte, isNotNull, isNull, lt, lte, max, min, or, sql } = load(
  'drizzle-orm',
) as typeof import('drizzle-orm')
export const { blob, index, integer, primaryKey, sqliteTable, text, uniqueIndex } = load(
  'drizzle-orm/sqlite-core',
) as typeof import('drizzle-orm/sqlite-core')

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
