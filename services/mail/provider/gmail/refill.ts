/**
 * Gmail's lane `refill`: lists like `enum` and fetches what has no row at once, a take after the other, without the fetch
 * queue: what waits there would make a mailbox that is live look as if it were not.
 */
import { refillLane } from '../../base/model.ts'
import type { Clock } from '../../base/time.ts'
import { drainPage, type Fetcher } from '../drain.ts'
import { type Call, emptyPage, type Page, type PageRequest } from '../provider.ts'
import type { GmailClient } from './client.ts'
import { type RefillCursor, readRefill, write } from './cursors.ts'
import { listIds } from './pages.ts'

/** A second walk finds what moved across a page while the first one went on. */
const MAX_PASSES = 5

export async function refillPage(
  client: GmailClient,
  fetcher: Fetcher,
  take: number,
  request: PageRequest,
  call: Call,
  clock: Clock,
): Promise<Page> {
  const cursor = readRefill(request.cursor, clock.wallMs())
  const { ids, next, skipped } = await listIds(client, cursor.page, call)
  const known = request.known(ids)
  const queued = request.queued(ids)
  const missing = ids.slice(cursor.at).filter((id) => !known.has(id) && !queued.has(id))
  const ask = missing.slice(0, take)
  const last = ask.at(-1)
  const page = ask.length === 0 ? emptyPage() : await drainPage(fetcher, { ...request, take: ask }, call)
  // What was refused is asked again from the same place.
  if (page.throttled !== undefined)
    return { ...page, lanes: [{ lane: request.lane, cursor: request.cursor, done: false }] }
  const fresh = cursor.fresh + page.messages.length
  const isWhole = missing.length <= take
  const nowMs = clock.wallMs()
  if (!isWhole && last !== undefined)
    return { ...page, skipped, ...at(request.lane, { ...cursor, at: ids.indexOf(last) + 1, fresh }) }
  if (next !== undefined)
    return { ...page, skipped, ...at(request.lane, { ...cursor, at: 0, fresh, page: next, atMs: nowMs }) }
  if (fresh === 0 || cursor.pass >= MAX_PASSES) return { ...page, skipped, dropLanes: [request.lane] }
  return { ...page, skipped, ...at(request.lane, { pass: cursor.pass + 1, fresh: 0, at: 0 }) }
}

const at = (lane: string, cursor: RefillCursor) => ({
  lanes: [{ lane, cursor: write(cursor), done: false }],
  more: true,
})

export const REFILL_LANES = [refillLane()]
