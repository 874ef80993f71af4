/**
 * Gmail's lanes `history` (what changed), `enum` (ids of everything) and `drain` (one message each). Ids are collected
 * first and fetched later, because page tokens are not safe to hang a job of hours on. It stores nothing.
 */
import * as v from 'valibot'
import type { Clock } from '../../base/time.ts'
import { refuseUnreadablePage } from '../answer.ts'
import { DRAIN } from '../drain.ts'
import { type Call, emptyPage, type Page, type PageRequest, ProviderError } from '../provider.ts'
import { type GmailClient, PAGE_SIZE } from './client.ts'
import { type HistoryCursor, readEnum, readHistory, write } from './cursors.ts'
import { forgotPosition } from './errors.ts'
import { isExcluded } from './normalize.ts'
import { HistoryChange, HistoryRecord, MessageId } from './schemas.ts'

export const HISTORY = 'history'
export const ENUM = 'enum'

/** Quota units (developers.google.com/workspace/gmail/api/reference/quota); `messages.get` is configuration. */
const UNITS = { profile: 1, history: 2, list: 5 } as const
/** Walks of `enum` at most, however many new ids each still finds. */
const MAX_PASSES = 5
/** Older page tokens are not trusted: the pass starts again, which costs 5 units per 500 ids. */
const PAGE_TOKEN_LIFE_MS = 3_600_000

export const getProfile = (client: GmailClient, call: Call) =>
  call.limiter.run(UNITS.profile, call.priority, call.signal, (signal) => client.profile({ ...call, signal }))

/** The position before anything is listed, so that mail arriving meanwhile comes by history. */
async function baseline(client: GmailClient, call: Call): Promise<Page> {
  const { historyId, messagesTotal } = await getProfile(client, call)
  return {
    ...emptyPage(),
    lanes: [
      { lane: HISTORY, cursor: write({ start: historyId }), done: true },
      { lane: ENUM, cursor: null, done: false },
      { lane: DRAIN, cursor: null, done: true },
    ],
    syncCursor: historyId,
    totalEstimate: messagesTotal,
  }
}

/** Rejected positions become `gone`; `restartCursor` is used where less than everything has to start again. */
function asGone(error: unknown, restartCursor?: string): unknown {
  if (!(error instanceof ProviderError) || !forgotPosition(error)) return error
  const facts = { ...error.facts, ...(restartCursor !== undefined && { restartCursor }) }
  return new ProviderError('gone', facts, { cause: error })
}

/** A provider that answers the token it was asked with would be walked for ever. */
function refuseLoop(operation: string, asked: string | undefined, next: string | undefined): void {
  if (next !== undefined && next === asked)
    throw new ProviderError('transient', { operation, code: 'PAGE_TOKEN_REPEATS' })
}

type Wish = { id: string; what: 'fetch' | 'drop' }

/** What one record asks for; how many of its entries could be read, and how many not. */
function wishesOf(raw: unknown): { wishes: Wish[]; readable: number; skipped: number } {
  const wishes: Wish[] = []
  let readable = 0
  let skipped = 0
  const each = (list: readonly unknown[] | undefined, take: (change: v.InferOutput<typeof HistoryChange>) => void) => {
    for (const entry of list ?? []) {
      const change = v.safeParse(HistoryChange, entry)
      if (change.success) {
        readable++
        take(change.output)
      } else skipped++
    }
  }
  const record = v.safeParse(HistoryRecord, raw)
  if (!record.success) return { wishes, readable, skipped: 1 }
  const { messages, messagesAdded, messagesDeleted, labelsAdded, labelsRemoved } = record.output
  each(messagesAdded, ({ message }) => {
    if (!isExcluded(message.labelIds)) wishes.push({ id: message.id, what: 'fetch' })
  })
  each(labelsRemoved, ({ message, labelIds }) => {
    if (isExcluded(labelIds) && !isExcluded(message.labelIds)) wishes.push({ id: message.id, what: 'fetch' })
  })
  each(messagesDeleted, ({ message }) => wishes.push({ id: message.id, what: 'drop' }))
  // Some records name nothing but messages: `drain` finds out what they are.
  if (!messagesAdded && !messagesDeleted && !labelsAdded && !labelsRemoved) {
    each(
      messages?.map((message) => ({ message })),
      ({ message }) => wishes.push({ id: message.id, what: 'fetch' }),
    )
  }
  return { wishes, readable, skipped }
}

const newer = (a: string, b: string): string => (BigInt(a) > BigInt(b) ? a : b)

async function historyPage(client: GmailClient, request: PageRequest, call: Call): Promise<Page> {
  if (request.cursor === null) return baseline(client, call)
  const { start, page: pageToken, first } = readHistory(request.cursor)
  const answer = await call.limiter
    .run(UNITS.history, call.priority, call.signal, (signal) => client.history({ ...call, signal }, start, pageToken))
    .catch((error: unknown) => {
      const lostPageOnly = pageToken !== undefined && error instanceof ProviderError && error.facts.status === 400
      throw asGone(error, lostPageOnly ? write({ start }) : undefined)
    })
  const next = answer.nextPageToken
  refuseLoop('gmail.history.list', pageToken, next)

  const last = new Map<string, Wish['what']>()
  let readable = 0
  let skipped = 0
  for (const record of answer.history ?? []) {
    const read = wishesOf(record)
    readable += read.readable
    skipped += read.skipped
    for (const { id, what } of read.wishes) last.set(id, what)
  }
  refuseUnreadablePage('gmail.history.list', { readable, skipped })
  const ids = (what: Wish['what']) => [...last].flatMap(([id, wish]) => (wish === what ? [id] : []))
  const known = request.known(ids('fetch'))
  const mark = first ?? answer.historyId
  const end = newer(mark, start)
  const cursor: HistoryCursor = next === undefined ? { start: end } : { start, page: next, first: mark }
  return {
    ...emptyPage(),
    enqueue: { ids: ids('fetch').filter((id) => !known.has(id)), urgent: true },
    drop: ids('drop'),
    lanes: [{ lane: HISTORY, cursor: write(cursor), done: next === undefined }],
    more: next !== undefined,
    ...(next === undefined && { syncCursor: end }),
    skipped,
  }
}

async function enumPage(client: GmailClient, request: PageRequest, call: Call, clock: Clock): Promise<Page> {
  const { pass, fresh, page, atMs = 0 } = readEnum(request.cursor)
  const isStale = clock.wallMs() - atMs > PAGE_TOKEN_LIFE_MS
  const pageToken = isStale ? undefined : page
  const answer = await call.limiter
    .run(UNITS.list, call.priority, call.signal, (signal) => client.list({ ...call, signal }, pageToken))
    .catch((error: unknown) => {
      throw pageToken === undefined ? error : asGone(error)
    })
  const next = answer.nextPageToken
  refuseLoop('gmail.messages.list', pageToken, next)

  const listed = new Set<string>()
  let skipped = 0
  for (const entry of answer.messages ?? []) {
    if (v.is(MessageId, entry)) listed.add(entry.id)
    else skipped++
  }
  refuseUnreadablePage('gmail.messages.list', { readable: listed.size, skipped })
  const all = [...listed]
  const known = request.known(all)
  const queued = request.queued(all)
  const ids = all.filter((id) => !known.has(id) && !queued.has(id))
  const found = fresh + ids.length

  // One page that is not full cannot have lost anything to the next.
  const isSinglePage = pageToken === undefined && listed.size < PAGE_SIZE
  // Gmail leaves out `messages` when there are none; the estimate says whether there should be some.
  const looksCut = answer.messages === undefined && Number(answer.resultSizeEstimate) > 0
  const foundAll = !looksCut && (isSinglePage || found === 0)
  const isOver = next === undefined && (foundAll || pass >= MAX_PASSES)
  const again = { pass: pass + 1, fresh: 0 }
  const cursor = next === undefined ? again : { pass, fresh: found, page: next, atMs: clock.wallMs() }
  return {
    ...emptyPage(),
    enqueue: { ids, urgent: false },
    lanes: [{ lane: ENUM, cursor: write(cursor), done: isOver }],
    more: !isOver,
    skipped,
  }
}

/** One page of a history or enum lane; `drain` is in drain.ts. */
export function listPage(client: GmailClient, request: PageRequest, call: Call, clock: Clock): Promise<Page> {
  if (request.lane === HISTORY) return historyPage(client, request, call)
  if (request.lane === ENUM) return enumPage(client, request, call, clock)
  throw new ProviderError('rejected', { operation: `gmail.${request.lane}`, code: 'UNKNOWN_LANE' })
}
