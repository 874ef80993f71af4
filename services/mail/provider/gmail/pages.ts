/**
 * Gmail's lanes `history` (what changed), `enum` (ids of everything) and `drain` (one message each). Ids are collected
 * first and fetched later, because page tokens are not safe to hang a job of hours on. It stores nothing.
 */
import * as v from 'valibot'
import type { Clock } from '../../base/time.ts'
import { refuseLoop, refuseUnreadablePage } from '../answer.ts'
import { DRAIN } from '../drain.ts'
import { type Call, emptyPage, type Page, type PageRequest, ProviderError } from '../provider.ts'
import { type GmailClient, PAGE_SIZE } from './client.ts'
import { type EnumCursor, type HistoryCursor, PAGE_TOKEN_LIFE_MS, readEnum, readHistory, write } from './cursors.ts'
import { forgotPosition, refusesPageToken } from './errors.ts'
import { isExcluded } from './normalize.ts'
import { HistoryChange, HistoryRecord, MessageId } from './schemas.ts'

export const HISTORY = 'history'
export const ENUM = 'enum'

/** Quota units (developers.google.com/workspace/gmail/api/reference/quota); `messages.get` is configuration. */
const UNITS = { profile: 1, history: 2, list: 5 } as const
/** Walks of `enum` at most, however many new ids each still finds. */
const MAX_PASSES = 5
/**
 * How long an empty page is doubted while the estimate says that there is mail. It may be a cut answer, and believing that
 * would lose all old mail in silence. But it may be true for ever: Gmail's estimate may count spam and trash, or a page
 * that is just full may be followed by an empty one. No fault of theirs is known to have lasted a day; the end of a list
 * has to be believed while its page token lives. New mail comes by `history` meanwhile.
 */
const DOUBT_MS = { mailbox: 86_400_000, rest: PAGE_TOKEN_LIFE_MS / 2 } as const

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

/** A lane that was asked with what Gmail does not know any more starts again, from `restartCursor` or from nothing. */
function gone(error: ProviderError, restartCursor?: string): ProviderError {
  const facts = { ...error.facts, ...(restartCursor !== undefined && { restartCursor }) }
  return new ProviderError('gone', facts, { cause: error })
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
      if (!(error instanceof ProviderError)) throw error
      if (pageToken !== undefined && refusesPageToken(error)) throw gone(error, write({ start }))
      throw forgotPosition(error) ? gone(error) : error
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
  const known = request.published(ids('fetch'))
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

/**
 * An empty page that says nothing new is doubted; it is asked again with a growing pause, like every bad answer.
 * @returns where the lane stands when the doubt begins, null when there is none (any more).
 * @throws ProviderError transient, code BAD_SHAPE, as long as it is doubted.
 */
export async function doubted<Cursor extends EnumCursor>(
  { ids, next, saysEmpty }: Listed,
  cursor: Cursor,
  nowMs: number,
  client: GmailClient,
  call: Call,
): Promise<Cursor | null> {
  // Gmail leaves out `messages` when there are none; the estimate says whether there should be some.
  if (ids.length > 0 || next !== undefined || saysEmpty) return null
  const { page, emptyMs } = cursor
  if (emptyMs !== undefined && nowMs - emptyMs >= (page === undefined ? DOUBT_MS.mailbox : DOUBT_MS.rest)) return null
  if (page === undefined && (await getProfile(client, call)).messagesTotal === 0) return null
  if (emptyMs === undefined) return { ...cursor, emptyMs: nowMs }
  throw new ProviderError('transient', { operation: 'gmail.messages.list', status: 200, code: 'BAD_SHAPE' })
}

const enumAt = (cursor: EnumCursor, done = false): Page => ({
  ...emptyPage(),
  lanes: [{ lane: ENUM, cursor: write(cursor), done }],
  more: !done,
})

/** A page token that is too old is left out: the pass starts again. */
function freshEnum(cursor: EnumCursor, nowMs: number): EnumCursor {
  const { pass, fresh, page, atMs = 0 } = cursor
  return page !== undefined && nowMs - atMs > PAGE_TOKEN_LIFE_MS ? { pass, fresh } : cursor
}

/** `saysEmpty`: by its own estimate there is nothing to list. */
type Listed = { ids: string[]; next: string | undefined; skipped: number; saysEmpty: boolean }

/** One page of ids of everything, or of one label. @throws ProviderError gone when Gmail does not know the page token any more. */
export async function listIds(
  client: GmailClient,
  pageToken: string | undefined,
  call: Call,
  label?: string,
): Promise<Listed> {
  const answer = await call.limiter
    .run(UNITS.list, call.priority, call.signal, (signal) => client.list({ ...call, signal }, pageToken, label))
    .catch((error: unknown) => {
      const isForgotten = error instanceof ProviderError && (refusesPageToken(error) || forgotPosition(error))
      throw pageToken !== undefined && isForgotten ? gone(error) : error
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
  return { ids: [...listed], next, skipped, saysEmpty: String(answer.resultSizeEstimate) === '0' }
}

async function enumPage(client: GmailClient, request: PageRequest, call: Call, clock: Clock): Promise<Page> {
  const cursor = freshEnum(readEnum(request.cursor), clock.wallMs())
  const { pass, fresh, page: pageToken } = cursor
  const listed = await listIds(client, pageToken, call)
  const doubt = await doubted(listed, cursor, clock.wallMs(), client, call)
  if (doubt !== null) return enumAt(doubt)
  const { ids: all, next, skipped } = listed
  const known = request.published(all)
  const queued = request.queued(all)
  const ids = all.filter((id) => !known.has(id) && !queued.has(id))
  const found = fresh + ids.length

  // One page that is not full cannot have lost anything to the next.
  const isSinglePage = pageToken === undefined && all.length < PAGE_SIZE
  const isOver = next === undefined && (isSinglePage || found === 0 || pass >= MAX_PASSES)
  const again = { pass: pass + 1, fresh: 0 }
  const moved = next === undefined ? again : { pass, fresh: found, page: next, atMs: clock.wallMs() }
  // The last walk that is made has found something: one more might, too.
  const unproven = isOver && !isSinglePage && found > 0
  return {
    ...enumAt(moved, isOver),
    enqueue: { ids, urgent: false },
    skipped,
    ...(unproven && { unproven: true as const }),
  }
}

/** One page of a history or enum lane; `drain` is in drain.ts. */
export function listPage(client: GmailClient, request: PageRequest, call: Call, clock: Clock): Promise<Page> {
  if (request.lane === HISTORY) return historyPage(client, request, call)
  if (request.lane === ENUM) return enumPage(client, request, call, clock)
  throw new ProviderError('rejected', { operation: `gmail.${request.lane}`, code: 'UNKNOWN_LANE' })
}
