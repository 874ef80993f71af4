/**
 * `pages`: where a mail or a queued id came from, one row per page that stored or queued something. A page that no mail
 * and no entry of the fetch queue names is deleted, so there are never more than mails and entries together.
 */

import { PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef, Epoch } from '../base/model.ts'
import { eq, sql } from './drizzle.ts'
import { prepareRead, prepareWrite, type UserReader, type UserTx } from './prepared.ts'
import { fetchQueue, pages as p } from './schema/user.ts'

export type PageOrigin = {
  lane: string
  /** What the provider was asked with; null = from the start. */
  cursor: string | null
  /** Where the lane stood after it; null = at its start, or there is no such lane any more. */
  nextCursor: string | null
  epoch: Epoch
  /** When the transaction was written, epoch ms. */
  atMs: number
}

const { placeholder } = sql
const insertPage = prepareWrite((db) =>
  db
    .insert(p)
    .values({
      provider: placeholder('provider'),
      inboxId: placeholder('inboxId'),
      lane: placeholder('lane'),
      cursor: placeholder('cursor'),
      nextCursor: placeholder('nextCursor'),
      epochEra: placeholder('era'),
      epochRev: placeholder('rev'),
      atMs: placeholder('atMs'),
    })
    .returning({ id: p.id })
    .prepare(),
)
const ofIds = sql`${p.id} IN (SELECT value FROM json_each(${placeholder('ids')}))`
const updateKept = prepareWrite((db) => db.update(p).set({ kept: true }).where(sql`${ofIds} AND kept = 0`).prepare())
const deleteUnused = prepareWrite((db) =>
  db
    .delete(p)
    .where(
      sql`${ofIds} AND kept = 0 AND NOT EXISTS (SELECT 1 FROM ${fetchQueue} WHERE ${fetchQueue.listedBy} = ${p.id})`,
    )
    .prepare(),
)
const selectPage = prepareRead((db) =>
  db
    .select()
    .from(p)
    .where(eq(p.id, placeholder('id')))
    .prepare(),
)

/** Notes a page and answers its id. */
export function addPage(tx: UserTx, { provider, inboxId }: AccountRef, { epoch, ...page }: PageOrigin): number {
  const row = { ...page, ...epoch, provider: PROVIDER_UPPER[provider], inboxId }
  const written = insertPage(tx).get(row)
  return written.id
}

/** Stored mails name these pages now. */
export function keepPages(tx: UserTx, ids: Iterable<number | null>): void {
  const list = idsOf(ids)
  if (list.length > 0) updateKept(tx).run({ ids: JSON.stringify(list) })
}

/** Deletes those of the pages that nothing names. */
export function prunePages(tx: UserTx, ids: Iterable<number | null>): void {
  const list = idsOf(ids)
  if (list.length > 0) deleteUnused(tx).run({ ids: JSON.stringify(list) })
}

const idsOf = (ids: Iterable<number | null>): number[] => [...new Set(ids)].filter((id) => id !== null)

/** A page by its id; null when it is not known. */
export function readPage(reader: UserReader, id: number | null): (PageOrigin & { id: number }) | null {
  const row = id === null ? undefined : selectPage(reader).get({ id })
  if (row === undefined) return null
  const { lane, cursor, nextCursor, epochEra, epochRev, atMs } = row
  return { id: row.id, lane, cursor, nextCursor, epoch: { era: epochEra, rev: epochRev }, atMs }
}
