/** `email_received_events`: the mails of a user. A new one gets its outbox row in the same transaction, here and nowhere else. */

import { type EmailReceived, eventId, PROVIDER_UPPER, type ProviderUpper } from '#shared/event.ts'
import { type AccountRef, type MessageMeta, toSeconds } from '../base/model.ts'
import { and, count, eq, sql } from './drizzle.ts'
import { sizeEvent } from './event-size.ts'
import { addKnown, knownSeq, setKnownSeq, setMail } from './known.ts'
import { mailRow, mailRowOf, ofRow } from './mail-row.ts'
import { insertOutbox, nextRowId, type OutboxRow } from './outbox-rows.ts'
import { keepPages } from './pages.ts'
import { prepareRead, prepareWrite, type UserReader, type UserTx } from './prepared.ts'
import { emailReceivedEvents as e } from './schema/user.ts'

const { placeholder } = sql

const insertEvent = prepareWrite((db) =>
  db
    .insert(e)
    .values({
      eventId: placeholder('eventId'),
      ts: placeholder('ts'),
      msgDate: placeholder('msgDate'),
      provider: placeholder('provider'),
      inboxId: placeholder('inboxId'),
      userId: placeholder('userId'),
      providerMessageId: placeholder('providerMessageId'),
      providerThreadId: placeholder('providerThreadId'),
      subject: placeholder('subject'),
      sender: placeholder('sender'),
      toAddrs: placeholder('toAddrs'),
      ccAddrs: placeholder('ccAddrs'),
      bccAddrs: placeholder('bccAddrs'),
      snippet: placeholder('snippet'),
      headersJson: placeholder('headersJson'),
      labelsJson: placeholder('labelsJson'),
      truncatedJson: placeholder('truncatedJson'),
      pageId: placeholder('pageId'),
      listedBy: placeholder('listedBy'),
    })
    .onConflictDoNothing()
    .prepare(),
)
const ofAccount = and(eq(e.provider, placeholder('provider')), eq(e.inboxId, placeholder('inboxId')))
const selectKnown = prepareRead((db) =>
  db
    .select({ id: e.providerMessageId })
    .from(e)
    .where(and(ofAccount, sql`${e.providerMessageId} IN (SELECT value FROM json_each(${placeholder('ids')}))`))
    .prepare(),
)
const selectCount = prepareRead((db) => db.select({ n: count() }).from(e).where(ofAccount).prepare())
const selectEvent = prepareRead((db) => db.select().from(e).where(ofRow).prepare())
const selectAccount = prepareRead((db) =>
  db.select({ provider: e.provider, inboxId: e.inboxId }).from(e).where(ofRow).prepare(),
)
const selectTs = prepareRead((db) => db.select({ ts: e.ts }).from(e).where(ofRow).prepare())

const keyOf = (account: AccountRef) => ({ provider: PROVIDER_UPPER[account.provider], inboxId: account.inboxId })

/** Ids of the page that brought the mails, and of the one that had listed a mail's id; null = not known. */
export type Origin = { pageId: number | null; listedBy(providerId: string): number | null }
const UNKNOWN: Origin = { pageId: null, listedBy: () => null }

/** `rows`: of the outbox, one for each event, in their order. They are on the disk once the transaction is. */
type Stored = { stored: number; events: number; doubtful: number; rows: OutboxRow[] }

/**
 * Stores mails that are not there yet, and an outbox row for each whose event was never seen, in the order given.
 * A mail whose event is known (read back from the stream) gets its row but no second event, and one that is doubtful
 * (it may have been published, and nobody knows) its row and no event.
 */
export function storeNew(
  tx: UserTx,
  account: AccountRef,
  metas: readonly MessageMeta[],
  nowMs: number,
  isDoubtful: (mail: MessageMeta) => boolean = () => false,
  origin: Origin = UNKNOWN,
): Stored {
  if (account.userId !== tx.userId) throw new Error('mail of one user must not enter the database of another')
  const result: Stored = { stored: 0, events: 0, doubtful: 0, rows: [] }
  if (metas.length === 0) return result
  const named = new Set<number | null>()
  let row = nextRowId(tx)
  for (const mail of metas) {
    const sized = sizeEvent(toEvent(account, mail, toSeconds(nowMs)))
    const { event } = sized
    const from = { pageId: origin.pageId, listedBy: origin.listedBy(mail.id) }
    const stored = insertRow(tx, event, from)
    if (stored === null) continue
    result.stored++
    named.add(from.pageId).add(from.listedBy)
    const waits = isDoubtful(mail) ? null : row
    if (!addKnown(tx, event.event_id, waits, stored)) {
      setMail(tx, event.event_id, stored)
      continue
    }
    if (waits === null) {
      result.doubtful++
      continue
    }
    result.rows.push(insertOutbox(tx, sized, nowMs, row++))
    result.events++
  }
  keepPages(tx, named)
  return result
}

/** Which of these provider ids are stored. */
export function knownIds(reader: UserReader, account: AccountRef, ids: readonly string[]): Set<string> {
  if (ids.length === 0) return new Set()
  const rows = selectKnown(reader).all({ ...keyOf(account), ids: JSON.stringify(ids) })
  return new Set(rows.map(({ id }) => id))
}

/** Which of them are stored, or were published from another disk and have no row here. */
export function publishedIds(reader: UserReader, account: AccountRef, ids: readonly string[]): Set<string> {
  const found = knownIds(reader, account, ids)
  const { provider, inboxId } = keyOf(account)
  for (const id of ids)
    if (!found.has(id) && knownSeq(reader, eventId(account.userId, provider, inboxId, id)) !== null) found.add(id)
  return found
}

/** How many mails of the account are stored. Reads the whole index of the account: not for every poll. */
export const countStored = (reader: UserReader, account: AccountRef): number =>
  selectCount(reader).get(keyOf(account))?.n ?? 0

/** Takes an event that was read back from the stream: its row if it is missing, its sequence, no outbox row. */
export function insertFromEvent(tx: UserTx, event: EmailReceived, seq: number): void {
  if (event.user_id !== tx.userId) throw new Error('an event of one user must not enter the database of another')
  const mail = insertRow(tx, event) ?? mailRow(tx, event.provider, event.inbox_id, event.provider_message_id)
  setKnownSeq(tx, event.event_id, seq, mail)
}

/** The event of a stored mail, built from its row; null when there is none. */
export function eventOf(reader: UserReader, id: string): EmailReceived | null {
  const row = selectEvent(reader).get({ row: mailRowOf(reader, id) })
  if (row === undefined) return null
  return {
    event_id: row.eventId,
    ts: row.ts,
    msg_date: row.msgDate,
    provider: row.provider as ProviderUpper,
    inbox_id: row.inboxId,
    user_id: row.userId,
    provider_message_id: row.providerMessageId,
    provider_thread_id: row.providerThreadId,
    subject: row.subject ?? '',
    sender: row.sender ?? '',
    to_addrs: JSON.parse(row.toAddrs ?? '[]'),
    cc_addrs: JSON.parse(row.ccAddrs ?? '[]'),
    bcc_addrs: JSON.parse(row.bccAddrs ?? '[]'),
    snippet: row.snippet ?? '',
    headers: JSON.parse(row.headersJson ?? '{}'),
    labels: JSON.parse(row.labelsJson ?? '[]'),
    ...(row.truncatedJson === null ? {} : { truncated: JSON.parse(row.truncatedJson) }),
  }
}

/** Whether a stored mail is of this account; null when there is no such mail. */
export function isMailOf(reader: UserReader, account: AccountRef, id: string): boolean | null {
  const row = selectAccount(reader).get({ row: mailRowOf(reader, id) })
  const { provider, inboxId } = keyOf(account)
  return row === undefined ? null : row.provider === provider && row.inboxId === inboxId
}

/** When the mail of an event was stored, epoch seconds; null when it is not. */
export const storedTs = (reader: UserReader, id: string): number | null =>
  selectTs(reader).get({ row: mailRowOf(reader, id) })?.ts ?? null

export function toEvent(account: AccountRef, mail: MessageMeta, ts: number): EmailReceived {
  const provider = PROVIDER_UPPER[account.provider]
  return {
    event_id: eventId(account.userId, provider, account.inboxId, mail.id),
    ts,
    msg_date: mail.msgDate,
    provider,
    inbox_id: account.inboxId,
    user_id: account.userId,
    provider_message_id: mail.id,
    provider_thread_id: mail.threadId,
    subject: mail.subject,
    sender: mail.sender,
    to_addrs: mail.to,
    cc_addrs: mail.cc,
    bcc_addrs: mail.bcc,
    snippet: mail.snippet,
    headers: mail.headers,
    labels: mail.labels,
  }
}

/** The rowid of the new row; null when the mail is stored already. */
function insertRow(
  tx: UserTx,
  event: EmailReceived,
  from: { pageId: number | null; listedBy: number | null } = { pageId: null, listedBy: null },
): number | null {
  const written = insertEvent(tx).run({
    eventId: event.event_id,
    ts: event.ts,
    msgDate: event.msg_date,
    provider: event.provider,
    inboxId: event.inbox_id,
    userId: event.user_id,
    providerMessageId: event.provider_message_id,
    providerThreadId: event.provider_thread_id,
    subject: event.subject,
    sender: event.sender,
    toAddrs: JSON.stringify(event.to_addrs),
    ccAddrs: JSON.stringify(event.cc_addrs),
    bccAddrs: JSON.stringify(event.bcc_addrs),
    snippet: event.snippet,
    headersJson: JSON.stringify(event.headers),
    labelsJson: JSON.stringify(event.labels),
    truncatedJson: event.truncated === undefined ? null : JSON.stringify(event.truncated),
    ...from,
  })
  return written.changes > 0 ? Number(written.lastInsertRowid) : null
}
