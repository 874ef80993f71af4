/** Gmail behind the contract of a provider adapter. Wiring only. */
import type { Http } from '../../base/http.ts'
import { type Clock, systemClock } from '../../base/time.ts'
import type { MailProvider } from '../provider.ts'
import { createGmailClient } from './client.ts'
import { drainPage } from './drain.ts'
import { DRAIN, getProfile, HISTORY, listPage } from './pages.ts'

/** Ids of one page of `drain`: five seconds of the quota of a new project. */
const TAKE = 25

export type GmailOptions = {
  /** Origin of the API, for example `https://gmail.googleapis.com`. */
  baseUrl: string
  /** Quota units of one `messages.get`: 20 since May 2026, 5 for older projects. */
  getUnits: number
  http: Http
  clock?: Clock
}

export function createGmail({ baseUrl, getUnits, http, clock = systemClock }: GmailOptions): MailProvider {
  const client = createGmailClient({ baseUrl, http })
  return {
    name: 'google',
    firstLane: HISTORY,
    polled: (lane) => lane === HISTORY,
    takes: (lane) => (lane === DRAIN ? TAKE : 0),
    async identify(call) {
      const { emailAddress, messagesTotal } = await getProfile(client, call)
      return { mailbox: emailAddress.toLowerCase(), address: emailAddress, totalEstimate: messagesTotal }
    },
    page: async (request, call) =>
      request.lane === DRAIN ? drainPage(client, getUnits, request, call) : listPage(client, request, call, clock),
  }
}
