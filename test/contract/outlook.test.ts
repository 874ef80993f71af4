import { describe } from 'node:test'
import { createOutlook } from '../../services/mail/provider/outlook/adapter.ts'
import { providerSuite } from './provider-suite.ts'

describe('the Outlook adapter', () =>
  providerSuite({
    provider: 'microsoft',
    make: (sim, http) => createOutlook({ baseUrl: sim.env.MAIL_GRAPH_BASE_URL, http }),
    listRoutes: ['graph.mailFolders.delta', 'graph.messages.delta'],
    getRoute: 'graph.messages.get',
    hidden: { folder: 'junkemail' },
    expire: [
      { type: 'expireDelta', code: 'SyncStateNotFound' },
      { type: 'expireDelta', code: 'resyncRequired' },
    ],
    faults: [],
    forceGets: [{ type: 'partialItems' }],
  }))
