/**
 * Graph's lanes `audit:<folder>`: plain lists of ids, large pages. What has no row is fetched singly; the lane goes on until
 * a walk brings nothing. Drafts are told by the list and cost nothing.
 */
import * as v from 'valibot'
import { auditLane, isFolderLane } from '../../base/model.ts'
import { refuseUnreadablePage, token } from '../answer.ts'
import { readCursor } from '../cursor.ts'
import type { Fetcher } from '../drain.ts'
import { fetchMissing } from '../fetch-missing.ts'
import { type Call, emptyPage, type Page, type PageRequest } from '../provider.ts'
import type { GraphClient } from './client.ts'
import { isNotFound } from './errors.ts'
import { folderOf, inTurn } from './pages.ts'
import { Listed } from './schemas.ts'

/** Messages that are fetched with one page of a list. */
const TAKE = 20
const PREFIX = auditLane('')

/** `fresh` counts the rows that this walk has brought, `at` the ids of the page that have been looked at. */
const Cursor = v.object({ pass: v.number(), fresh: v.number(), at: v.number(), link: v.nullable(token(8192)) })
type Cursor = v.InferOutput<typeof Cursor>

export const auditLanes = (lanes: readonly string[]): string[] =>
  lanes.filter(isFolderLane).map((lane) => auditLane(folderOf(lane)))

export async function auditPage(
  client: GraphClient,
  fetcher: () => Fetcher,
  request: PageRequest,
  call: Call,
): Promise<Page> {
  const { lane } = request
  const cursor = read(request.cursor)
  let answer: Awaited<ReturnType<GraphClient['ids']>>
  try {
    answer = await inTurn(call, (turn) => client.ids(turn, lane.slice(PREFIX.length), cursor.link))
  } catch (error) {
    if (isNotFound(error)) return { ...emptyPage(), dropLanes: [lane] }
    throw error
  }
  const readable = answer.value.filter((raw) => v.is(Listed, raw))
  const skipped = answer.value.length - readable.length
  refuseUnreadablePage('graph.messages.list', { readable: readable.length, skipped })
  const ids = [...new Set(readable.filter(({ isDraft }) => !isDraft).map(({ id }) => id))]
  const found = await fetchMissing({ ids, at: cursor.at, take: TAKE }, fetcher, request, call)
  const fresh = cursor.fresh + found.page.messages.length
  if (found.at !== null) return { ...found.page, ...at(lane, { ...cursor, fresh, at: found.at }) }
  const page = { ...found.page, skipped, listed: { ids, pass: cursor.pass } }
  if (answer.next !== null) return { ...page, ...at(lane, { ...cursor, fresh, at: 0, link: answer.next }) }
  if (fresh === 0) return { ...page, dropLanes: [lane] }
  return { ...page, ...at(lane, { pass: cursor.pass + 1, fresh: 0, at: 0, link: null }) }
}

const at = (lane: string, cursor: Cursor) => ({
  lanes: [{ lane, cursor: JSON.stringify(cursor), done: false }],
  more: true,
})

const read = (cursor: string | null): Cursor =>
  cursor === null ? { pass: 1, fresh: 0, at: 0, link: null } : readCursor(Cursor, cursor, 'graph.messages.list')
