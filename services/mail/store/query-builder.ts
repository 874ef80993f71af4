/**
 * The one place that loads drizzle-orm: with the first database that is read or written through it, or has to be migrated.
 * An instance answers requests before that (ADR 0037). Node reads the package.json of a package anew for each of its ES
 * modules, and drizzle's is 180 KB: that import takes 0.8 s and 190 MB. Its CommonJS build is the same code in 0.1 s.
 */
import { createRequire } from 'node:module'
import type SqliteDatabase from 'better-sqlite3'
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3'

export type Drizzle = BetterSQLite3Database

// drizzle-kit reads the schema as CommonJS, where `import.meta` is empty.
export const loadDrizzle = createRequire(import.meta.url ?? __filename)

/** The query builder on a connection. */
export function queryBuilder(client: SqliteDatabase.Database): Drizzle {
  const { drizzle } = loadDrizzle('drizzle-orm/better-sqlite3') as typeof import('drizzle-orm/better-sqlite3')
  return drizzle({ client })
}

/** Applies what the database has not seen of the migrations in a folder. */
export function migrate(db: Drizzle, migrationsFolder: string): void {
  const migrator = loadDrizzle(
    'drizzle-orm/better-sqlite3/migrator',
  ) as typeof import('drizzle-orm/better-sqlite3/migrator')
  migrator.migrate(db, { migrationsFolder })
}
