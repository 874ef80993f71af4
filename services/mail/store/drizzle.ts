/** Drizzle's words for schema and statements. Whoever imports this loads drizzle-orm: nothing that is needed for a start does. */
import { loadDrizzle as load } from './query-builder.ts'

const core = load('drizzle-orm') as typeof import('drizzle-orm')
export const { and, asc, count, desc, eq, gt, gte, isNotNull, isNull, lt, lte, max, min, or, sql } = core
export const { blob, index, integer, primaryKey, sqliteTable, text, uniqueIndex } = load(
  'drizzle-orm/sqlite-core',
) as typeof import('drizzle-orm/sqlite-core')

/** What drizzle keeps of a prepared statement, and how a session makes one of it. No type of drizzle tells. */
type Prepared = {
  query: { params: unknown[] }
  stmt: { run(values: unknown[]): unknown }
  run(values?: Values): unknown
  fields: unknown
  executeMethod: unknown
  customResultMapper: unknown
  joinsNotNullableMap: unknown
  isResponseInArrayMode(): boolean
}
type Values = Record<string, unknown>
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

/**
 * The statement with a quicker `run`: drizzle asks of which class each parameter is at each call, which takes as long as
 * many a statement that writes.
 */
export function bindOnce<S extends object>(statement: S): S {
  const model = statement as unknown as Prepared
  const params = model.query.params.map(readerOf)
  model.run = (values = {}) => model.stmt.run(params.map((value) => value(values)))
  return statement
}

function readerOf(param: unknown): (values: Values) => unknown {
  const { is, Param, Placeholder } = core
  if (is(param, Placeholder)) return ofName(param.name)
  if (!is(param, Param) || !is(param.value, Placeholder)) return () => param
  const [given, { encoder }] = [ofName(param.value.name), param]
  return (values) => encoder.mapToDriverValue(given(values))
}

const ofName =
  (name: string) =>
  (values: Values): unknown => {
    const value = values[name]
    if (value === undefined && !(name in values)) throw new Error(`no value for ${name} was given`)
    return value
  }
