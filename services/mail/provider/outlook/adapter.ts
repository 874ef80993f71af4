/** Outlook (Microsoft Graph) behind the contract of a provider adapter. Wiring only. */
import * as v from 'valibot'
import type { Http } from '../../base/http.ts'
import { isAudit, isFolderLane, isRefill } from '../../base/model.ts'
import { DRAIN, drainPage, type Fetcher, lookAt } from '../drain.ts'
import { type Call, type Identity, type MailProvider, type PageRequest, ProviderError } from '../provider.ts'
import { auditLanes, auditPage } from './audit.ts'
import { createGraphClient, type GraphClient } from './client.ts'
import { isNotFound, refusesOneMessage } from './errors.ts'
import { excludedBy, labelOf } from './folders.ts'
import { graphMeta } from './normalize.ts'
import { FOLDERS, inTurn, storedTree, walkPage } from './pages.ts'
import { refillLanes, refillPage } from './refill.ts'
import { Message } from './schemas.ts'

/** Ids of one page of `drain`; only updates that do not show the whole message get there. */
const TAKE = 20

export type OutlookOptions = {
  /** Address of the API with its version, for example `https://graph.microsoft.com/v1.0`. */
  baseUrl: string
  http: Http
}

/** The inbox's id binds the account: Mail.Read is enough for it. The address needs User.Read and may be withheld. */
async function identify(client: GraphClient, call: Call): Promise<Identity> {
  const { id } = await inTurn(call, (turn) => client.folder(turn, 'inbox'))
  const me = await inTurn(call, (turn) => client.me(turn)).catch((error: unknown) => {
    if (error instanceof ProviderError && error.kind === 'rejected') return null
    throw error
  })
  return { mailbox: id, address: me?.mail ?? me?.userPrincipalName ?? null, totalEstimate: null }
}

function fetcherOf(client: GraphClient, request: Pick<PageRequest, 'cursorOf'>, call: Call): Fetcher {
  const operation = 'graph.messages.get'
  const tree = storedTree(request)
  // Without the tree a mail in the bin could not be told from one in the inbox.
  if (tree.size === 0) throw new ProviderError('transient', { operation, code: 'FOLDERS_UNKNOWN' })
  return {
    operation,
    cost: 1,
    get: (id) => client.message(call, id),
    judge(id, answer) {
      const message = v.safeParse(Message, answer)
      if (!message.success || message.output.id !== id) return { is: 'unreadable' }
      const { isDraft, parentFolderId } = message.output
      // A folder that is not in the tree yet brings its mail itself, once the tree has it.
      const filter = isDraft ? 'draft' : excludedBy(tree, parentFolderId)
      if (filter !== null) return { is: 'noEvent', filter }
      return { is: 'mail', meta: graphMeta(message.output, labelOf(tree, parentFolderId)) }
    },
    isMissing: isNotFound,
    refusesOne: refusesOneMessage,
  }
}

export function createOutlook({ baseUrl, http }: OutlookOptions): MailProvider {
  const client = createGraphClient({ baseUrl, http })
  return {
    name: 'microsoft',
    firstLane: FOLDERS,
    polled: (lane) => lane === FOLDERS || isFolderLane(lane),
    // Each answer has another link, and Graph soon forgets one that was followed.
    keepsPositions: false,
    takes: (lane) => (lane === DRAIN ? TAKE : 0),
    identify: (call) => identify(client, call),
    refillLanes,
    auditLanes,
    async page(request, call) {
      if (request.lane === DRAIN) return drainPage(fetcherOf(client, request, call), request, call)
      if (isRefill(request.lane)) return refillPage(client, request, call)
      if (isAudit(request.lane)) return auditPage(client, () => fetcherOf(client, request, call), request, call)
      return walkPage(client, request, call)
    },
    look: async (id, request, call) => lookAt(fetcherOf(client, request, call), id, call),
  }
}
