/**
 * What a reader and a writer of one user's database are, and statements that are prepared once per database.
 * A function that takes a `UserReader` cannot write: the writing half of the query builder is not in its type.
 */
import type { Drizzle } from './sqlite.ts'

export type ReadDb = Pick<Drizzle, 'select'>

/** Reads of one user, inside one snapshot. Not to be kept after the callback. */
export type UserReader = { readonly userId: string; readonly db: ReadDb }
/** One IMMEDIATE transaction of the term that owns the user. Not to be kept after the callback. */
export type UserTx = { readonly userId: string; readonly db: Drizzle }

/** A statement for readers (and writers), built and prepared at its first use on each database. */
export function prepareRead<S>(build: (db: ReadDb) => S): (reader: UserReader) => S {
  const made = new WeakMap<ReadDb, S>()
  return ({ db }) => {
    const known = made.get(db)
    if (known !== undefined) return known
    const statement = build(db)
    made.set(db, statement)
    return statement
  }
}

/** A statement that only a transaction of the owner can run. */
export function prepareWrite<S>(build: (db: Drizzle) => S): (tx: UserTx) => S {
  const made = new WeakMap<Drizzle, S>()
  return ({ db }) => {
    const known = made.get(db)
    if (known !== undefined) return known
    const statement = build(db)
    made.set(db, statement)
    return statement
  }
}
