/**
 * Lanes that go over a list of ids once more fetch what has no row at once, a take after the other, without the fetch
 * queue: what waits there would make a mailbox that is live look as if it were not.
 */
import { drainPage, type Fetcher } from './drain.ts'
import { type Call, emptyPage, type Page, type PageRequest } from './provider.ts'

/**
 * The first `take` ids behind the `at`-th that have no row and wait nowhere.
 * @returns what came, and how many ids of the list have been looked at now; null = all of them
 */
export async function fetchMissing(
  { ids, at, take }: { ids: readonly string[]; at: number; take: number },
  fetcher: () => Fetcher,
  request: PageRequest,
  call: Call,
): Promise<{ page: Page; at: number | null }> {
  const known = request.known(ids)
  const queued = request.queued(ids)
  const missing = ids.slice(at).filter((id) => !known.has(id) && !queued.has(id))
  const ask = missing.slice(0, take)
  const last = ask.at(-1)
  if (last === undefined) return { page: emptyPage(), at: null }
  const page = await drainPage(fetcher(), { ...request, take: ask }, call)
  // What has no answer is asked for again from the same place.
  if (page.cutOff !== undefined) return { page, at }
  return { page, at: missing.length <= take ? null : ids.indexOf(last) + 1 }
}
