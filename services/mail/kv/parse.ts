/** JSON of a bucket to a checked record; anything else is null, never an exception. */
import * as v from 'valibot'

/**
 * A copy in the form in which V8 keeps what it parses: what a schema has built field by field takes twice the memory, and there
 * are several records of each user.
 */
const compact = <T>(record: T): T => JSON.parse(JSON.stringify(record))

/** For a record that is kept. */
export function parseRecord<S extends v.GenericSchema>(schema: S): (value: string) => v.InferOutput<S> | null {
  const read = readRecord(schema)
  return (value) => {
    const record = read(value)
    return record === null ? null : compact(record)
  }
}

/** The same for a record that is looked at and forgotten. */
export function readRecord<S extends v.GenericSchema>(schema: S): (value: string) => v.InferOutput<S> | null {
  return (value) => {
    try {
      const result = v.safeParse(schema, JSON.parse(value))
      return result.success ? result.output : null
    } catch (error) {
      if (error instanceof SyntaxError) return null
      throw error
    }
  }
}
