/**
 * Why a message is, or is not, on the stream: what the owner's database knows of it, and when it knows nothing, what the
 * provider says. It writes nothing and fetches no mail.
 */
import type { Page, WhyAnswer, WhyReply, WhyRequest } from '#shared/inspect.ts'
import type { Log } from '#shared/log.ts'
import { type AccountRef, toSeconds } from '../base/model.ts'
import type { Look } from '../provider/provider.ts'
import { type Trace, type TracedPage, traceOf } from '../store/trace.ts'
import type { UserStore } from '../store/user-store.ts'
import type { Unanswered } from './ask.ts'
import { onStream, type SubjectReader } from './on-stream.ts'

export type WhyDeps = {
  store: Pick<UserStore, 'read'>
  /** Of the user, connected or not. */
  accounts: readonly AccountRef[]
  instance: string
  subjectLog: SubjectReader
  log: Log
  /** Asks the provider about one message, with a deadline of its own. */
  ask(account: AccountRef, id: string): Promise<Look | Unanswered>
}

export async function why(userId: string, request: WhyRequest, deps: WhyDeps): Promise<WhyReply> {
  const { message_id: id, provider, inbox_id: inboxId } = request
  const asked = deps.accounts.filter(
    (account) =>
      account.provider === (provider ?? account.provider) && account.inboxId === (inboxId ?? account.inboxId),
  )
  const traces = asked.map((account): [AccountRef, Trace] => [account, traced(account, id, deps)])
  const knowing = traces.filter(([, trace]) => isKnown(trace))
  const told = knowing.map(([account, trace]) => known(account, trace, deps))
  const answers = await Promise.all(told.length > 0 ? told : asked.map((account) => live(account, id, deps)))
  return { user_id: userId, message_id: id, instance: deps.instance, answers }
}

const traced = (account: AccountRef, id: string, { store }: WhyDeps): Trace =>
  store.read(account.userId, (db) => traceOf(db, account, id))

const isKnown = ({ storedAt, seq, queued }: Trace): boolean => storedAt !== null || seq !== null || queued !== null

const nameOf = ({ provider, inboxId }: AccountRef) => ({ provider, inbox_id: inboxId })

async function known(account: AccountRef, trace: Trace, { subjectLog, log }: WhyDeps): Promise<WhyAnswer> {
  const { storedAt, page, listedBy, outbox, queued } = trace
  if (storedAt === null && queued !== null) {
    const { isSetAside, attempts, reason, error, nextAtMs } = queued
    return {
      is: 'queued',
      ...nameOf(account),
      set_aside: isSetAside,
      attempts,
      reason,
      error,
      next_attempt_at: timeOf(nextAtMs),
      listed_by: pageOf(queued.listedBy),
    }
  }
  return {
    is: 'stored',
    ...nameOf(account),
    event_id: trace.eventId,
    stored_at: storedAt,
    page: pageOf(page),
    listed_by: pageOf(listedBy),
    outbox:
      outbox === null
        ? null
        : {
            id: outbox.id,
            published_at: outbox.publishedAt,
            retries: outbox.retries,
            next_attempt_at: timeOf(outbox.nextAttemptMs),
          },
    stream: await onStream(account.userId, trace, subjectLog, log),
  }
}

async function live(account: AccountRef, id: string, deps: WhyDeps): Promise<WhyAnswer> {
  const look = await deps.ask(account, id)
  // It may have been stored while the provider was asked.
  const trace = traced(account, id, deps)
  if (isKnown(trace)) return await known(account, trace, deps)
  const name = nameOf(account)
  switch (look.is) {
    case 'mail':
    case 'unreadable':
      return { is: 'unknown', ...name, readable: look.is === 'mail', open_lanes: trace.openLanes }
    case 'noEvent':
      return { is: 'filtered', ...name, filter: look.filter }
    case 'unanswered':
      return { is: 'unanswered', ...name, code: look.code, status: look.status, provider_code: look.providerCode }
    default: {
      const { status = null, code = null } = look.facts
      return { is: 'not_at_provider', ...name, reason: look.is, status, provider_code: code }
    }
  }
}

const timeOf = (ms: number): number | null => (ms === 0 ? null : toSeconds(ms))

function pageOf(page: TracedPage | null): Page | null {
  if (page === null) return null
  const { id, lane, cursor, nextCursor, epoch, atMs } = page
  return { page: id, lane, cursor, next_cursor: nextCursor, epoch, committed_at: toSeconds(atMs) }
}
