/**
 * Graph's lanes `refill:<folder>`: plain lists, because a second delta walk of a folder ends the links of the first. What
 * moves from page to page meanwhile may be passed over, so the list is gone through until it brings nothing.
 */
import * as v from 'valibot'
import { isFolderLane, refillLane } from '../../base/model.ts'
import { refuseUnreadablePage, token } from '../answer.ts'
import { readCursor } from '../cursor.ts'
import { type Call, emptyPage, type Page, type PageRequest } from '../provider.ts'
import type { GraphClient } from './client.ts'
import { isNotFound } from './errors.ts'
import { labelOf } from './folders.ts'
import { graphMeta } from './normalize.ts'
import { folderOf, inTurn, readItems, storedTree } from './pages.ts'

const MAX_PASSES = 5
const PREFIX = refillLane('')

/** `fresh` counts the rows that this pass has brought. */
const Cursor = v.object({ pass: v.number(), fresh: v.number(), link: v.nullable(token(8192)) })
type Cursor = v.InferOutput<typeof Cursor>

export const refillLanes = (lanes: readonly string[]): string[] =>
  lanes.filter(isFolderLane).map((lane) => refillLane(folderOf(lane)))

export async function refillPage(client: GraphClient, request: PageRequest, call: Call): Promise<Page> {
  const folder = request.lane.slice(PREFIX.length)
  const cursor = read(request.cursor)
  let answer: Awaited<ReturnType<GraphClient['list']>>
  try {
    answer = await inTurn(call, (turn) => client.list(turn, folder, cursor.link))
  } catch (error) {
    if (isNotFound(error)) return { ...emptyPage(), dropLanes: [request.lane] }
    throw error
  }
  const { whole, partial, readable, skipped } = readItems(answer.value)
  refuseUnreadablePage('graph.messages.list', { readable, skipped })
  const known = request.known([...whole.keys(), ...partial])
  const queued = request.queued(partial)
  const label = labelOf(storedTree(request), folder)
  const missing = [...whole.values()].filter(({ id, isDraft }) => !isDraft && !known.has(id))
  const ids = partial.filter((id) => !known.has(id) && !queued.has(id))
  const messages = missing.map((message) => graphMeta(message, label))
  const page: Page = { ...emptyPage(), messages, enqueue: { ids, urgent: false }, skipped }
  const fresh = cursor.fresh + missing.length + ids.length
  if (answer.next === null && (fresh === 0 || cursor.pass >= MAX_PASSES)) return { ...page, dropLanes: [request.lane] }
  const next: Cursor =
    answer.next === null ? { pass: cursor.pass + 1, fresh: 0, link: null } : { ...cursor, fresh, link: answer.next }
  return { ...page, lanes: [{ lane: request.lane, cursor: JSON.stringify(next), done: false }], more: true }
}

const read = (cursor: string | null): Cursor =>
  cursor === null ? { pass: 1, fresh: 0, link: null } : readCursor(Cursor, cursor, 'graph.messages.list')
