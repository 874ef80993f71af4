/**
 * Lane `drain`: fetches the ids taken from the queue, each on its own, so that one bad message never holds the others.
 * Pace and parallelism are the limiter's.
 */
import * as v from 'valibot'
import type { MessageMeta } from '../../base/model.ts'
import { type Call, emptyPage, type FailedMessage, type Page, type PageRequest, ProviderError } from '../provider.ts'
import type { GmailClient } from './client.ts'
import { refusesOneMessage } from './errors.ts'
import { gmailMeta, isExcluded } from './normalize.ts'
import { Message } from './schemas.ts'

/** `later`: nothing is known about the message, it stays queued. */
type Outcome =
  | { is: 'mail'; meta: MessageMeta }
  | { is: 'noEvent' }
  | { is: 'failed'; reason: FailedMessage['reason'] }
  | { is: 'later'; error: unknown }

function judged(id: string, data: unknown): Outcome {
  if (typeof data !== 'object' || data === null) {
    const facts = { operation: 'gmail.messages.get', status: 200, code: 'BAD_SHAPE' }
    return { is: 'later', error: new ProviderError('transient', facts) }
  }
  const parsed = v.safeParse(Message, data)
  if (!parsed.success || parsed.output.id !== id) return { is: 'failed', reason: 'unreadable' }
  return isExcluded(parsed.output.labelIds) ? { is: 'noEvent' } : { is: 'mail', meta: gmailMeta(parsed.output) }
}

function judgedError(error: unknown): Outcome {
  if (!(error instanceof ProviderError)) return { is: 'later', error }
  if (error.kind === 'rejected' && error.facts.status === 404) return { is: 'failed', reason: 'missing' }
  return refusesOneMessage(error) ? { is: 'failed', reason: 'refused' } : { is: 'later', error }
}

/** Errors that the rest of the take would meet as well: those still waiting for a turn give it up. */
const endsTake = (error: unknown): boolean => !(error instanceof ProviderError) || error.kind !== 'transient'

/**
 * @throws the first error that is no single message's fault: always when the grant was refused, otherwise only when
 * nothing at all came. A throttled take that brought something says so in `Page.throttled`.
 */
export async function drainPage(
  client: GmailClient,
  getUnits: number,
  request: PageRequest,
  call: Call,
): Promise<Page> {
  const known = request.known(request.take)
  const wanted = request.take.filter((id) => !known.has(id))
  const waiting = new AbortController()
  const turn = AbortSignal.any([call.signal, waiting.signal])
  const fetchOne = async (id: string): Promise<Outcome> => {
    try {
      // A request under way is paid for already: it is bound to the call's signal, not to that of the turn.
      const data = await call.limiter.run(getUnits, call.priority, turn, () => client.get(call, id))
      return judged(id, data)
    } catch (error) {
      const outcome = judgedError(error)
      if (outcome.is === 'later' && endsTake(error)) waiting.abort(error)
      return outcome
    }
  }
  const outcomes = await Promise.all(wanted.map(async (id) => ({ id, outcome: await fetchOne(id) })))
  call.signal.throwIfAborted()

  const page = { ...emptyPage(), drop: [...known] }
  const errors: unknown[] = []
  for (const { id, outcome } of outcomes) {
    if (outcome.is === 'mail') page.messages.push(outcome.meta)
    else if (outcome.is === 'noEvent') page.drop.push(id)
    else if (outcome.is === 'failed') page.failed.push({ id, reason: outcome.reason })
    else errors.push(outcome.error)
  }
  return settle(page, errors, wanted.length > 0 && errors.length === wanted.length)
}

function settle(page: Page, errors: readonly unknown[], nothingCame: boolean): Page {
  const rank = (error: unknown): number => {
    if (!(error instanceof ProviderError)) return 0
    return { auth: 1, rejected: 2, gone: 2, throttled: 3, transient: 4 }[error.kind]
  }
  const worst = errors.toSorted((a, b) => rank(a) - rank(b))[0]
  if (worst === undefined) return page
  if (nothingCame || rank(worst) < 3) throw worst
  return worst instanceof ProviderError && worst.kind === 'throttled' ? { ...page, throttled: worst.facts } : page
}
