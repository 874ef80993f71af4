import { describe } from 'node:test'
import { createGmail } from '../../services/mail/provider/gmail/adapter.ts'
import { providerSuite } from './provider-suite.ts'

describe('the Gmail adapter', () =>
  providerSuite({
    provider: 'google',
    make: (sim, http) => createGmail({ baseUrl: sim.env.MAIL_GMAIL_BASE_URL, getUnits: 20, http }),
    listRoutes: ['gmail.profile', 'gmail.messages.list', 'gmail.history.list'],
    getRoute: 'gmail.messages.get',
    hidden: { labels: ['SPAM'] },
    expire: [{ type: 'expireHistory' }],
    faults: [
      [{ type: '403rate', retryAfter: 7 }, 'throttled'],
      [{ type: '403rate', retryAfter: 7, reason: 'rateLimitExceeded' }, 'throttled'],
      [{ type: '400precondition' }, 'transient'],
    ],
    forceGets: [],
  }))
