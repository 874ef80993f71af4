/**
 * What a reader and a writer of one user's database are, and statements that are prepared once per database.
 * A function that takes a `UserReader` cannot write: the writing half of the query builder is not in its type.
 */
import { bindOnce, prepareAgain } from './drizzle.ts'
import type { Drizzle } from './sqlite.ts'

export type ReadDb = Pick<Drizzle, 'select'>

/** Reads of one user, inside one snapshot. Not to be kept after the callback. */
export type UserReader = { readonly userId: string; readonly db: ReadDb }
/** One IMMEDIATE transaction of the term that owns the user. Not to be kept after the callback. */
export type UserTx = { readonly userId: string; readonly db: Drizzle }

/** A statement for readers (and writers), prepared at its first use on each database. */
export const prepareRead = <S extends object>(build: (db: ReadDb) => S): ((reader: UserReader) => S) =>
  perDatabase(build, (statement) => statement)

/** A statement that only a transaction of the owner can run. */
export const prepareWrite = <S extends object>(build: (db: Drizzle) => S): ((tx: UserTx) => S) =>
  perDatabase(build, bindOnce)

/** Built at its first use of all: what it is made of is the same for every database. */
function perDatabase<D extends object, S extends object>(
  build: (db: D) => S,
  quicken: (statement: S) => S,
): (of: { readonly db: D }) => S {
  const made = new WeakMap<D, S>()
  let model: S | null = null
  return ({ db }) => {
    const known = made.get(db)
    if (known !== undefined) return known
    const statement = model === null ? build(db) : prepareAgain(model, db)
    model ??= statement
    made.set(db, quicken(statement))
    return statement
  }
}
