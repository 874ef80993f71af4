/**
 * A few new mails are fetched with the page that names them, so that the page brings the mails in place of their ids: the way
 * through the fetch queue takes a transaction, and whoever looks into the queue has to be woken. What cannot be fetched takes
 * that way all the same, and is judged there.
 */
import { drainPage, type Fetcher } from './drain.ts'
import { isThrottled } from './get-messages.ts'
import { type Call, emptyPage, type Page, type PageRequest, ProviderError } from './provider.ts'

/** Messages of one page at most: one batch, which is stored in one transaction. */
const AT_ONCE = 25

const NONE: ReadonlySet<string> = new Set()

/**
 * The page with mails in place of the ids that it would have put into the fetch queue, as far as they came.
 * @throws ProviderError auth: the page is to be asked for again with another token; the signal's reason
 */
export async function fetchNamed(page: Page, fetcher: () => Fetcher, request: PageRequest, call: Call): Promise<Page> {
  const { ids } = page.enqueue
  if (!request.fetchesNew || ids.length === 0 || ids.length > AT_ONCE) return page
  const came = await fetched(ids, fetcher(), request, call)
  const over = [...came.messages.map(({ id }) => id), ...came.drop]
  const isOver = new Set(over)
  return {
    ...page,
    messages: came.messages,
    enqueue: { ...page.enqueue, ids: ids.filter((id) => !isOver.has(id)) },
    // Those that waited already, because another page has named them.
    drop: [...page.drop, ...request.queued(over)],
    // Whatever else cut it off is met by whoever fetches the rest.
    ...(isThrottled(came.cutOff) && { cutOff: came.cutOff }),
  }
}

async function fetched(ids: readonly string[], fetcher: Fetcher, request: PageRequest, call: Call): Promise<Page> {
  const take = { ...request, take: ids, retried: NONE, accountAnswers: false, known: () => new Set<string>() }
  try {
    return await drainPage(fetcher, take, call)
  } catch (error) {
    // The page itself was answered and counts.
    if (!(error instanceof ProviderError) || error.kind === 'auth') throw error
    return { ...emptyPage(), cutOff: error }
  }
}
