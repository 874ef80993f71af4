/** One Gmail message as MessageMeta. Pure; it never throws and never drops a header it was asked for. */
import { decodeHTMLStrict } from 'entities'
import type { MessageMeta } from '../../base/model.ts'
import { addressList, epochSeconds, headerText, wellFormed } from '../mime.ts'
import type { GmailMessage } from './schemas.ts'

/** The headers that are asked for and kept; the order is that of the event. */
export const HEADERS = [
  'From',
  'To',
  'Cc',
  'Bcc',
  'Reply-To',
  'Subject',
  'Date',
  'Message-ID',
  'In-Reply-To',
  'References',
  'List-Id',
] as const
type HeaderName = (typeof HEADERS)[number]

/** Labels of mail that is no event. */
const EXCLUDED = new Set(['DRAFT', 'CHAT', 'SPAM', 'TRASH'])
/** The label that makes a mail no event; undefined = it is one. */
export const excludedBy = (labels: readonly string[]): string | undefined => labels.find((label) => EXCLUDED.has(label))
export const isExcluded = (labels: readonly string[]): boolean => excludedBy(labels) !== undefined

/** @param message an answer of `messages.get` with format `metadata`. */
export function gmailMeta(message: GmailMessage): MessageMeta {
  const values = new Map<string, string[]>()
  for (const { name, value } of message.payload.headers) {
    const key = name.toLowerCase()
    values.set(key, [...(values.get(key) ?? []), wellFormed(value)])
  }
  const all = (name: HeaderName): string[] => values.get(name.toLowerCase()) ?? []
  const people = (name: HeaderName): string[] => all(name).flatMap(addressList)
  // `Doe, John <j@x.org>` without quotes is a name cut in two, not two senders.
  const senders = people('From')
  const headers: Record<string, string> = {}
  for (const name of HEADERS) if (all(name).length > 0) headers[name] = all(name).join('\n')
  const { internalDate } = message
  return {
    id: message.id,
    threadId: message.threadId,
    msgDate: internalDate === null || internalDate === '' ? null : epochSeconds(Number(internalDate)),
    subject: headerText(all('Subject')[0] ?? ''),
    sender: senders.find((one) => one.includes('@')) ?? senders[0] ?? '',
    to: people('To'),
    cc: people('Cc'),
    bcc: people('Bcc'),
    snippet: wellFormed(decodeHTMLStrict(message.snippet)),
    headers,
    labels: message.labelIds.map(wellFormed),
  }
}
