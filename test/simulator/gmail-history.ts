/** Owns `users.history.list`: filter, paging and the 404 of a start that is too old. Refuses to store anything. */
import type { gmail_v1 } from 'googleapis'
import { googleBadRequest, googleNotFound } from './answers.ts'
import type { GmailMailbox, HistoryRecord } from './gmail-mailbox.ts'
import { gmailRef } from './gmail-message.ts'
import type { Answer } from './types.ts'

function historyJson(box: GmailMailbox, record: HistoryRecord): gmail_v1.Schema$History {
  const ref = gmailRef(box, record.index, box.stateOf(record.index).thread)
  const message = { ...ref, labelIds: [...record.labels] } satisfies gmail_v1.Schema$Message
  const base = { id: String(record.id), messages: [ref] } satisfies gmail_v1.Schema$History
  const labelIds = [...record.changed]
  switch (record.type) {
    case 'messageAdded':
      return { ...base, messagesAdded: [{ message }] }
    case 'messageDeleted':
      return { ...base, messagesDeleted: [{ message }] }
    case 'labelAdded':
      return { ...base, labelsAdded: [{ message, labelIds }] }
    case 'labelRemoved':
      return { ...base, labelsRemoved: [{ message, labelIds }] }
  }
}

/** What had happened by then, null = everything, and the newest id of it. */
function known(box: GmailMailbox, records: readonly HistoryRecord[], untilMs: number | null, start: string) {
  if (untilMs === null) return { records, historyId: String(box.historyId()) }
  const old = records.filter(({ atMs }) => atMs <= untilMs)
  return { records: old, historyId: String(old.at(-1)?.id ?? start) }
}

/** Chronological; the start is exclusive; the page token continues after a record of the same start. */
export function gmailHistory(box: GmailMailbox, query: URLSearchParams, limit: number, untilMs: number | null): Answer {
  const start = query.get('startHistoryId') ?? ''
  if (!/^\d{1,20}$/.test(start)) return googleBadRequest('Invalid startHistoryId')
  const token = query.get('pageToken')
  const after = token === null ? null : /^(\d+)\.(\d+)$/.exec(Buffer.from(token, 'base64url').toString())
  if (token !== null && after?.[1] !== start) return googleBadRequest('Invalid pageToken')
  const since = box.historySince(BigInt(start))
  if (!since) return googleNotFound()
  const { records, historyId } = known(box, since, untilMs, start)
  const types = query.getAll('historyTypes')
  const label = query.get('labelId')
  const wanted = records.filter(
    (record) =>
      (!after || record.id > BigInt(after[2] ?? 0)) &&
      (types.length === 0 || types.includes(record.type)) &&
      (label === null || record.labels.includes(label) || record.changed.includes(label)),
  )
  const page = wanted.slice(0, limit)
  const last = page.at(-1)
  const body: gmail_v1.Schema$ListHistoryResponse = {
    ...(page.length > 0 && { history: page.map((record) => historyJson(box, record)) }),
    ...(last && wanted.length > limit && { nextPageToken: Buffer.from(`${start}.${last.id}`).toString('base64url') }),
    historyId,
  }
  return { status: 200, body }
}
