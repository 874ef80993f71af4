/** why, quarantine and audit of the users that this instance owns, out of the parts that know. */
import type { Inspections } from '#shared/inspect.ts'
import { eventSubject, type InspectionName } from '#shared/subjects.ts'
import { type AccountRef, accountName } from '../base/model.ts'
import type { ControlPorts } from '../control/ports.ts'
import { askProvider } from '../inspect/ask.ts'
import { audit } from '../inspect/audit.ts'
import { quarantine } from '../inspect/quarantine.ts'
import { why } from '../inspect/why.ts'
import { SubjectLog } from '../outbox/subject-log.ts'
import type { Supervisor } from '../owner/supervisor.ts'
import type { Tenure } from '../owner/tenure.ts'
import type { Work } from './ownership.ts'

/** How long a user may take to start, and the provider to answer: together less than an instance waits for the owner. */
const START_MS = 4_000
const ASK_MS = 5_000

export type InspectParts = Pick<Work, 'accounts' | 'broker' | 'instance' | 'log' | 'store'> & { supervisor: Supervisor }

export function inspector(parts: InspectParts): ControlPorts['inspect'] {
  const { accounts, broker, instance, log, store, supervisor } = parts
  const of = ({ userId }: Tenure) => ({
    store,
    instance,
    accounts: accounts.ofUser(userId).map(({ account }) => account),
  })
  const answers: Answers = {
    why: (tenure, request) =>
      why(tenure.userId, request, {
        ...of(tenure),
        subjectLog: new SubjectLog(broker.js, broker.jsm, eventSubject(tenure.userId), log),
        log,
        ask: async (account, id) => {
          const worker = tenure.workerOf(account)
          if (worker !== undefined) return await askProvider(worker, id, AbortSignal.timeout(ASK_MS))
          // Who must sign in again has no worker either.
          const record = accounts.ofUser(account.userId).find((entry) => isSame(entry.account, account))?.record
          return { is: 'unanswered', code: record?.reauth?.code ?? null, status: null, providerCode: null }
        },
      }),
    quarantine: async (tenure) => quarantine(tenure.userId, of(tenure)),
    audit: async (tenure, request) =>
      audit(tenure.userId, request, {
        instance,
        statuses: tenure.statuses() ?? [],
        workerOf: (account) => tenure.workerOf(account),
      }),
  }
  return async (name, userId, request) => {
    const tenure = await running(supervisor, userId)
    return tenure === null ? null : await answers[name](tenure, request)
  }
}

type Answers = {
  [N in InspectionName]: (tenure: Tenure, request: Inspections[N]['request']) => Promise<Inspections[N]['reply']>
}

const isSame = (a: AccountRef, b: AccountRef): boolean => accountName(a) === accountName(b)

/** The user's tenure here once it has started, null when this instance is not the owner or cannot be it yet. A user at rest is started. */
async function running(supervisor: Supervisor, userId: string): Promise<Tenure | null> {
  const tenure = supervisor.owns(userId) ? supervisor.tenures.get(userId) : undefined
  if (tenure === undefined) return null
  if (tenure.statuses() === null) await tenure.rest.awake(START_MS)
  return supervisor.owns(userId) && tenure.statuses() !== null ? tenure : null
}
