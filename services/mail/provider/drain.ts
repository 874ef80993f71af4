/**
 * The lane `drain` of both adapters: fetches the ids taken from the queue, each on its own, so that one bad message never
 * holds the others. Pace and parallelism are the limiter's; what an answer means is the adapter's.
 */
import type { MessageMeta } from '../base/model.ts'
import { type Call, emptyPage, type FailedMessage, type Page, type PageRequest, ProviderError } from './provider.ts'

export const DRAIN = 'drain'

/** What an answer says about one message. `noEvent`: a draft, spam and the like. */
export type Judgement = { is: 'mail'; meta: MessageMeta } | { is: 'noEvent' } | { is: 'unreadable' }

/** How one message is fetched and read. */
export type Fetcher = {
  operation: string
  /** Cost of one request at the limiter. */
  cost: number
  get(id: string): Promise<unknown>
  /** @param answer a JSON object; anything else never gets here. */
  judge(id: string, answer: object): Judgement
  /** The refusal concerns this message only. */
  refusesOne(error: ProviderError): boolean
}

/** `later`: nothing is known about the message, it stays queued. */
type Outcome =
  | Exclude<Judgement, { is: 'unreadable' }>
  | { is: 'failed'; reason: FailedMessage['reason'] }
  | { is: 'later'; error: unknown }

function judged(fetcher: Fetcher, id: string, answer: unknown): Outcome {
  if (typeof answer !== 'object' || answer === null) {
    const facts = { operation: fetcher.operation, status: 200, code: 'BAD_SHAPE' }
    return { is: 'later', error: new ProviderError('transient', facts) }
  }
  const judgement = fetcher.judge(id, answer)
  return judgement.is === 'unreadable' ? { is: 'failed', reason: 'unreadable' } : judgement
}

function judgedError(fetcher: Fetcher, error: unknown): Outcome {
  if (!(error instanceof ProviderError)) return { is: 'later', error }
  if (error.kind === 'rejected' && error.facts.status === 404) return { is: 'failed', reason: 'missing' }
  return fetcher.refusesOne(error) ? { is: 'failed', reason: 'refused' } : { is: 'later', error }
}

/** Errors that the rest of the take would meet as well: those still waiting for a turn give it up. */
const endsTake = (error: unknown): boolean => !(error instanceof ProviderError) || error.kind !== 'transient'

const RANKS = { auth: 1, rejected: 2, gone: 2, throttled: 3, transient: 4 } as const
/** Lower = more important to be told. */
const rank = (error: unknown): number => (error instanceof ProviderError ? RANKS[error.kind] : 0)

/**
 * @throws the most important error that is no single message's fault: always when the grant or the account was refused,
 * otherwise only when nothing at all came. A throttled take that brought something says so in `Page.throttled`.
 */
export async function drainPage(fetcher: Fetcher, request: PageRequest, call: Call): Promise<Page> {
  const known = request.known(request.take)
  const wanted = request.take.filter((id) => !known.has(id))
  const waiting = new AbortController()
  const stopWaiting = () => waiting.abort(call.signal.reason)
  call.signal.addEventListener('abort', stopWaiting, { once: true })
  if (call.signal.aborted) stopWaiting()

  const fetchOne = async (id: string): Promise<Outcome> => {
    try {
      // A request under way is paid for already: `get` is bound to the call's signal, not to that of the turn.
      return judged(
        fetcher,
        id,
        await call.limiter.run(fetcher.cost, call.priority, waiting.signal, () => fetcher.get(id)),
      )
    } catch (error) {
      const outcome = judgedError(fetcher, error)
      if (outcome.is === 'later' && endsTake(error)) waiting.abort(error)
      return outcome
    }
  }
  const outcomes = await Promise.all(wanted.map(async (id) => ({ id, outcome: await fetchOne(id) })))
  call.signal.removeEventListener('abort', stopWaiting)
  call.signal.throwIfAborted()

  const page = { ...emptyPage(), drop: [...known] }
  const errors: unknown[] = []
  for (const { id, outcome } of outcomes) {
    if (outcome.is === 'mail') page.messages.push(outcome.meta)
    else if (outcome.is === 'noEvent') page.drop.push(id)
    else if (outcome.is === 'failed') page.failed.push({ id, reason: outcome.reason })
    else errors.push(outcome.error)
  }
  const worst = errors.toSorted((a, b) => rank(a) - rank(b))[0]
  if (worst === undefined) return page
  if (errors.length === wanted.length || rank(worst) < RANKS.throttled) throw worst
  return worst instanceof ProviderError && worst.kind === 'throttled' ? { ...page, throttled: worst.facts } : page
}
