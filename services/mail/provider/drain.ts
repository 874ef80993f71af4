/**
 * The lane `drain` of both adapters: fetches the ids taken from the queue and judges each answer on its own, so that one bad
 * message never holds the others. What an answer means is the adapter's.
 */
import type { MessageMeta } from '../base/model.ts'
import { type Answer, type Getter, getMessages, isAccountWide, isThrottled } from './get-messages.ts'
import {
  type Call,
  emptyPage,
  type FailedMessage,
  type Look,
  type Page,
  type PageRequest,
  ProviderError,
  type ProviderErrorKind,
} from './provider.ts'

export const DRAIN = 'drain'

/** What an answer says about one message. `noEvent`: a draft, spam and the like; `filter` names what keeps it out. */
export type Judgement = { is: 'mail'; meta: MessageMeta } | { is: 'noEvent'; filter: string } | { is: 'unreadable' }

/** How one message is fetched and read. */
export type Fetcher = Getter & {
  operation: string
  /** @param answer a JSON object; anything else never gets here. */
  judge(id: string, answer: object): Judgement
  /** The provider looked into the mailbox, and the message is not there. */
  isMissing(error: ProviderError): boolean
  /** The refusal concerns this message only. */
  refusesOne(error: ProviderError): boolean
}

/** `unsettled`: it may be the fault of the message, of the account or of the provider. */
type Outcome =
  | Exclude<Judgement, { is: 'unreadable' }>
  | { is: 'failed'; reason: FailedMessage['reason']; error?: unknown }
  | { is: 'unsettled'; error: unknown }

function judged(fetcher: Fetcher, id: string, answer: unknown): Outcome {
  if (typeof answer !== 'object' || answer === null) {
    const facts = { operation: fetcher.operation, status: 200, code: 'BAD_SHAPE' }
    return { is: 'unsettled', error: new ProviderError('transient', facts) }
  }
  const judgement = fetcher.judge(id, answer)
  return judgement.is === 'unreadable' ? { is: 'failed', reason: 'unreadable' } : judgement
}

function judgedError(fetcher: Fetcher, error: unknown): Outcome {
  if (!(error instanceof ProviderError)) return { is: 'unsettled', error }
  if (fetcher.isMissing(error)) return { is: 'failed', reason: 'missing' }
  return fetcher.refusesOne(error) ? { is: 'failed', reason: 'refused', error } : { is: 'unsettled', error }
}

const isKind = (error: unknown, ...kinds: ProviderErrorKind[]): error is ProviderError =>
  error instanceof ProviderError && kinds.includes(error.kind)

const ORDER: readonly ProviderErrorKind[] = ['auth', 'throttled', 'gone', 'rejected', 'transient']
/** Lower = more important to be told; an error of our own is -1. */
const rank = (error: unknown): number => (error instanceof ProviderError ? ORDER.indexOf(error.kind) : -1)

function failedBy(operation: string, id: string, error: unknown): FailedMessage {
  const reason = isKind(error, 'gone', 'rejected') ? 'refused' : 'unavailable'
  return { id, reason, facts: factsOf(operation, error) }
}
const factsOf = (operation: string, error: unknown) =>
  error instanceof ProviderError ? error.facts : { operation, code: error instanceof Error ? error.name : typeof error }

const waitOf = ({ facts }: ProviderError): number => facts.retryAfterMs ?? 0

const outcomeOf = (fetcher: Fetcher, id: string, answer: Answer): Outcome =>
  answer.status === 'fulfilled' ? judged(fetcher, id, answer.value) : judgedError(fetcher, answer.reason)

/**
 * One message asked for by itself: what a take would make of it.
 * @throws ProviderError that says nothing about the message, or the signal's reason
 */
export async function lookAt(fetcher: Fetcher, id: string, call: Call): Promise<Look> {
  const get = () => fetcher.get(id)
  try {
    const outcome = judged(fetcher, id, await call.limiter.run(fetcher.cost, call.priority, call.signal, get))
    if (outcome.is === 'unsettled') throw outcome.error
    if (outcome.is === 'mail') return { is: 'mail' }
    return outcome.is === 'noEvent' ? outcome : { is: 'unreadable' }
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error
    if (fetcher.isMissing(error)) return { is: 'missing', facts: error.facts }
    if (fetcher.refusesOne(error)) return { is: 'refused', facts: error.facts }
    throw error
  }
}

/** Messages of a take that are asked for alone: each waits for a turn of its own. */
const RETRIED_MAX = 25
function withFewRetried(ids: readonly string[], retried: PageRequest['retried']): string[] {
  let left = RETRIED_MAX
  return ids.filter((id) => !retried.has(id) || left-- > 0)
}

/**
 * One message is never the account: as soon as another one of the take was answered, or the account is known to answer,
 * what went wrong with it is its own and it is set aside. A refused grant and throttling are the account's always; a batch
 * without an answer says nothing of its messages, unless the account is known to answer.
 * @throws the most important error when the grant was refused, or when nothing says that it is no fault of the account.
 * A take that was cut off and brought something says so in `Page.cutOff`.
 */
export async function drainPage(fetcher: Fetcher, request: PageRequest, call: Call): Promise<Page> {
  const known = request.known(request.take)
  const wanted = withFewRetried(
    request.take.filter((id) => !known.has(id)),
    request.retried,
  )
  const page: Page = { ...emptyPage(), drop: [...known] }
  const errors: [id: string, error: unknown][] = []
  const { answers, cutOff } = await getMessages(fetcher, wanted, request.retried, call)
  for (const [id, answer] of answers) {
    const outcome = outcomeOf(fetcher, id, answer)
    if (outcome.is === 'mail') page.messages.push(outcome.meta)
    else if (outcome.is === 'noEvent') page.drop.push(id)
    else if (outcome.is === 'unsettled') errors.push([id, outcome.error])
    else {
      const { reason, error } = outcome
      page.failed.push({ id, reason, ...(error !== undefined && { facts: factsOf(fetcher.operation, error) }) })
    }
  }
  const [worst] = errors.map(([, error]) => error).toSorted((a, b) => rank(a) - rank(b))
  if (isKind(worst, 'auth')) throw worst
  const settled = answers.length - errors.length
  const single = errors.filter(([, error]) => !isAccountWide(error) && (error !== cutOff || request.accountAnswers))
  const blamed = settled > 0 || request.accountAnswers ? single : []
  if (errors.length > 0 && settled + blamed.length === 0) throw worst
  page.failed.push(...blamed.map(([id, error]) => failedBy(fetcher.operation, id, error)))
  const [throttled] = errors
    .map(([, error]) => error)
    .filter(isThrottled)
    .toSorted((a, b) => waitOf(b) - waitOf(a))
  const by = throttled ?? cutOff
  return by === undefined ? page : { ...page, cutOff: by }
}
