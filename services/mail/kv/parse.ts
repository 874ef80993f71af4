/** JSON of a bucket to a checked record; anything else is null, never an exception. */
import * as v from 'valibot'

export function parseRecord<S extends v.GenericSchema>(schema: S): (value: string) => v.InferOutput<S> | null {
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
