/** The stored positions of Gmail's lanes: JSON, checked on reading. A cursor that cannot be read is `gone`. */
import * as v from 'valibot'
import { token } from '../answer.ts'
import { readCursor } from '../cursor.ts'

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

/** `start` stays the same over all pages of a walk; `first` is the historyId of its first page. */
const History = v.object({
  start: v.pipe(v.string(), v.regex(/^\d{1,32}$/)),
  page: v.optional(token()),
  first: v.optional(v.pipe(v.string(), v.regex(/^\d{1,32}$/))),
})
export type HistoryCursor = v.InferOutput<typeof History>

/**
 * `fresh` counts the ids of this pass that nobody knew; `atMs` is the age of the page token; since `emptyMs` the page has
 * been empty against the estimate.
 */
const Enum = v.object({
  pass: whole,
  fresh: whole,
  page: v.optional(token()),
  atMs: v.optional(whole),
  emptyMs: v.optional(whole),
})
export type EnumCursor = v.InferOutput<typeof Enum>

/** `at` counts the ids of the page that have been looked at; `fresh` the rows that this pass has brought. */
const Refill = v.object({ ...Enum.entries, at: whole })
export type RefillCursor = v.InferOutput<typeof Refill>

/** Older page tokens are not trusted: the pass starts again, which costs 5 units per 500 ids. */
export const PAGE_TOKEN_LIFE_MS = 3_600_000

export const readHistory = (cursor: string): HistoryCursor => readCursor(History, cursor, 'gmail.history.list')
export const readEnum = (cursor: string | null): EnumCursor =>
  cursor === null ? { pass: 1, fresh: 0 } : readCursor(Enum, cursor, 'gmail.messages.list')
/** A page token that is too old is left out: the pass starts again. */
export function readRefill(cursor: string | null, nowMs: number): RefillCursor {
  if (cursor === null) return { pass: 1, fresh: 0, at: 0 }
  const stored = readCursor(Refill, cursor, 'gmail.messages.list')
  const { pass, fresh, page, atMs = 0 } = stored
  return page !== undefined && nowMs - atMs > PAGE_TOKEN_LIFE_MS ? { pass, fresh, at: 0 } : stored
}
export const write = (cursor: HistoryCursor | EnumCursor | RefillCursor): string => JSON.stringify(cursor)
