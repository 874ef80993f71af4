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
import { doubted, listIds } from './pages.ts'

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
  const listed = await listIds(client, cursor.page, call)
  const doubt = await doubted(listed, cursor, clock.wallMs(), client, call)
  if (doubt !== null) return { ...emptyPage(), ...at(request.lane, doubt) }
  const { ids, next, skipped } = listed
  const known = request.known(ids)
  const queued = request.queued(ids)
  const missing = ids.slice(cursor.at).filter((id) => !known.has(id) && !queued.has(id))
  const ask = missing.slice(0, take)
  const last = ask.at(-1)
  const page = ask.length === 0 ? emptyPage() : await drainPage(fetcher, { ...request, take: ask }, call)
  const { pass, emptyMs: _over, ...place } = { ...cursor, fresh: cursor.fresh + page.messages.length }
  // What was refused is asked again from the same place.
  if (page.throttled !== undefined) return { ...page, ...at(request.lane, { pass, ...place }) }
  const isWhole = missing.length <= take
  // A page is listed once for each take of it; what cannot be read of it counts once.
  if (!isWhole && last !== undefined)
    return { ...page, ...at(request.lane, { pass, ...place, at: ids.indexOf(last) + 1 }) }
  const nowMs = clock.wallMs()
  if (next !== undefined)
    return { ...page, skipped, ...at(request.lane, { pass, ...place, at: 0, page: next, atMs: nowMs }) }
  if (place.fresh === 0 || pass >= MAX_PASSES) return { ...page, skipped, dropLanes: [request.lane] }
  return { ...page, skipped, ...at(request.lane, { pass: pass + 1, fresh: 0, at: 0 }) }
}

const at = (lane: string, cursor: RefillCursor) => ({
  lanes: [{ lane, cursor: write(cursor), done: false }],
  more: true,
})

export const REFILL_LANES = [refillLane()]
