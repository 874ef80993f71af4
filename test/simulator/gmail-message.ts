/** Owns the Gmail JSON of a mail, typed by Google's own typings. Refuses to know requests. */
import type { gmail_v1 } from 'googleapis'
import type { GmailMailbox } from './gmail-mailbox.ts'
import type { GmailState } from './gmail-seed.ts'
import { headersOf, htmlEscape } from './headers.ts'

export type Format = 'minimal' | 'full' | 'raw' | 'metadata'

function payloadOf(
  mimeType: string,
  headers: gmail_v1.Schema$MessagePartHeader[],
  text: string | null,
): gmail_v1.Schema$MessagePart {
  if (text === null) return { mimeType, headers } satisfies gmail_v1.Schema$MessagePart
  const body = { size: Buffer.byteLength(text), data: Buffer.from(text).toString('base64url') }
  return { partId: '', mimeType, filename: '', headers, body } satisfies gmail_v1.Schema$MessagePart
}

/** One mail as `users.messages.get` answers it. `wanted`: names of headers (format metadata), empty = all. */
export function gmailMessage(
  box: GmailMailbox,
  index: number,
  state: GmailState,
  format: Format,
  wanted: readonly string[],
): gmail_v1.Schema$Message {
  const content = box.contentOf(index, state)
  const base = {
    id: box.idOf(index),
    threadId: box.idOf(state.thread),
    labelIds: [...state.labels],
    snippet: htmlEscape(content.preview),
    historyId: String(state.historyId),
    internalDate: String(state.internalMs),
    sizeEstimate: 2000 + (content.style % 90_000),
  } satisfies gmail_v1.Schema$Message
  if (format === 'minimal') return base
  const headers = [...(state.overrides?.headers ?? headersOf(content, state.internalMs))]
  if (format === 'raw') {
    const raw = `${headers.map(({ name, value }) => `${name}: ${value}`).join('\r\n')}\r\n\r\n${content.preview}`
    return { ...base, raw: Buffer.from(raw).toString('base64url') } satisfies gmail_v1.Schema$Message
  }
  const mimeType = content.invite ? 'text/calendar' : 'text/plain'
  if (format === 'full') return { ...base, payload: payloadOf(mimeType, headers, content.preview) }
  const names = new Set(wanted.map((name) => name.toLowerCase()))
  const kept = names.size === 0 ? headers : headers.filter(({ name }) => names.has(name.toLowerCase()))
  return { ...base, payload: payloadOf(mimeType, kept, null) } satisfies gmail_v1.Schema$Message
}

export function gmailRef(box: GmailMailbox, index: number, thread: number): gmail_v1.Schema$Message {
  return { id: box.idOf(index), threadId: box.idOf(thread) } satisfies gmail_v1.Schema$Message
}
