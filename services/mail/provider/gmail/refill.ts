/**
 * Gmail's lanes `refill` and `audit`: they list like `enum` and fetch what has no row at once. The audit says what it has
 * seen, and goes on until a walk brings nothing.
 */
import { auditLane, isAudit, refillLane } from '../../base/model.ts'
import type { Clock } from '../../base/time.ts'
import type { Fetcher } from '../drain.ts'
import { fetchMissing } from '../fetch-missing.ts'
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
  const { lane } = request
  const cursor = readRefill(request.cursor, clock.wallMs())
  const listed = await listIds(client, cursor.page, call)
  const doubt = await doubted(listed, cursor, clock.wallMs(), client, call)
  if (doubt !== null) return { ...emptyPage(), ...at(lane, doubt) }
  const { next, skipped } = listed
  const ids = isAudit(lane) ? await withoutDrafts(listed.ids, client, request, call) : listed.ids
  const found = await fetchMissing({ ids, at: cursor.at, take }, () => fetcher, request, call)
  const { pass, emptyMs: _over, ...place } = { ...cursor, fresh: cursor.fresh + found.page.messages.length }
  // A page is listed once for each take of it; what cannot be read of it counts once.
  if (found.at !== null) return { ...found.page, ...at(lane, { pass, ...place, at: found.at }) }
  const page = { ...found.page, skipped, ...(isAudit(lane) && { listed: { ids, pass } }) }
  const nowMs = clock.wallMs()
  if (next !== undefined) return { ...page, ...at(lane, { pass, ...place, at: 0, page: next, atMs: nowMs }) }
  // Each walk of an audit that goes on has stored something: it comes to an end by itself.
  if (place.fresh === 0 || (pass >= MAX_PASSES && !isAudit(lane))) return { ...page, dropLanes: [lane] }
  return { ...page, ...at(lane, { pass: pass + 1, fresh: 0, at: 0 }) }
}

/** What a list shows beside mail; labels that a list can be asked for. */
const NO_MAIL = ['DRAFT', 'CHAT'] as const
/** Pages of each label that are looked at; what is on none of them is fetched to be told. */
const NO_MAIL_PAGES = 4

/** Drafts have no row and never will: a list of them costs less than to fetch a single one, night after night. */
async function withoutDrafts(ids: string[], client: GmailClient, request: PageRequest, call: Call): Promise<string[]> {
  const known = request.known(ids)
  if (ids.every((id) => known.has(id))) return ids
  const drafts = new Set<string>()
  for (const label of NO_MAIL) {
    let page: string | undefined
    for (let pages = 0; pages < NO_MAIL_PAGES && (pages === 0 || page !== undefined); pages++) {
      const listed = await listIds(client, page, call, label)
      for (const id of listed.ids) drafts.add(id)
      page = listed.next
    }
  }
  return ids.filter((id) => !drafts.has(id))
}

const at = (lane: string, cursor: RefillCursor) => ({
  lanes: [{ lane, cursor: write(cursor), done: false }],
  more: true,
})

export const REFILL_LANES = [refillLane()]
export const AUDIT_LANES = [auditLane()]
