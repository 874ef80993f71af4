/** Gmail behind the contract of a provider adapter. Wiring only. */
import * as v from 'valibot'
import type { Http } from '../../base/http.ts'
import { isRewalk } from '../../base/model.ts'
import { type Clock, systemClock } from '../../base/time.ts'
import { DRAIN, drainPage, type Fetcher, type Judgement, lookAt } from '../drain.ts'
import { fetchNamed } from '../fetch-named.ts'
import type { Call, MailProvider } from '../provider.ts'
import { createGmailClient } from './client.ts'
import { isNotFound, refusesOneMessage } from './errors.ts'
import { excludedBy, gmailMeta } from './normalize.ts'
import { getProfile, HISTORY, listPage } from './pages.ts'
import { AUDIT_LANES, REFILL_LANES, refillPage } from './refill.ts'
import { Message } from './schemas.ts'

/**
 * Ids of one page of `drain`: several batches, because each transaction writes anew whatever its mails share. After `TAKE_MS`
 * no further batch is asked for, as long as the quota lets so many through, and else after `SLOW_TAKE_MS`.
 */
const TAKE = 50
const TAKE_MS = 200
const SLOW_TAKE = 25
const SLOW_TAKE_MS = 5_000
/** Ids of one page of a refill or an audit. */
const REFILL_TAKE = 25

export type GmailOptions = {
  /** Origin of the API, for example `https://gmail.googleapis.com`. */
  baseUrl: string
  /** Quota units of one `messages.get`: 20 since May 2026, 5 for older projects. */
  getUnits: number
  http: Http
  clock?: Clock
}

function judge(id: string, answer: object): Judgement {
  const message = v.safeParse(Message, answer)
  if (!message.success || message.output.id !== id) return { is: 'unreadable' }
  const filter = excludedBy(message.output.labelIds)
  return filter === undefined ? { is: 'mail', meta: gmailMeta(message.output) } : { is: 'noEvent', filter }
}

export function createGmail({ baseUrl, getUnits, http, clock = systemClock }: GmailOptions): MailProvider {
  const client = createGmailClient({ baseUrl, http })
  const fetcher = (call: Call): Fetcher => ({
    operation: 'gmail.messages.get',
    cost: getUnits,
    get: (id) => client.get(call, id),
    batch: (ids) => client.batch(call, ids),
    judge,
    isMissing: isNotFound,
    refusesOne: refusesOneMessage,
  })
  return {
    name: 'google',
    firstLane: HISTORY,
    polled: (lane) => lane === HISTORY,
    keepsPositions: true,
    takes: (lane) => (lane === DRAIN ? TAKE : 0),
    async identify(call) {
      const { emailAddress, messagesTotal } = await getProfile(client, call)
      return { mailbox: emailAddress.toLowerCase(), address: emailAddress, totalEstimate: messagesTotal }
    },
    refillLanes: () => REFILL_LANES,
    auditLanes: () => AUDIT_LANES,
    async page(request, call) {
      if (request.lane === DRAIN) {
        const startedMs = clock.monoMs()
        const goesOn = (asked: number, next: string): boolean =>
          !request.hurries(next) &&
          call.limiter.pausedMs === 0 &&
          clock.monoMs() - startedMs < (asked < SLOW_TAKE ? SLOW_TAKE_MS : TAKE_MS)
        return drainPage({ ...fetcher(call), goesOn }, request, call)
      }
      if (isRewalk(request.lane)) return refillPage(client, fetcher(call), REFILL_TAKE, request, call, clock)
      const page = await listPage(client, request, call, clock)
      return request.lane === HISTORY ? await fetchNamed(page, () => fetcher(call), request, call) : page
    },
    look: (id, _request, call) => lookAt(fetcher(call), id, call),
  }
}
