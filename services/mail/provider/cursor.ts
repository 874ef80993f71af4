/** Stored positions of lanes that are JSON: checked on reading. */
import * as v from 'valibot'
import { ProviderError } from './provider.ts'

/** @throws ProviderError gone, code CURSOR_UNREADABLE: the lane starts again. */
export function readCursor<Schema extends v.GenericSchema>(
  schema: Schema,
  cursor: string,
  operation: string,
): v.InferOutput<Schema> {
  const facts = { operation, code: 'CURSOR_UNREADABLE' }
  try {
    const result = v.safeParse(schema, JSON.parse(cursor))
    if (result.success) return result.output
  } catch (cause) {
    throw new ProviderError('gone', facts, { cause })
  }
  throw new ProviderError('gone', facts)
}
