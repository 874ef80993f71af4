/** One Graph message as MessageMeta. Pure; it never throws. Names are decoded by Graph already. */
import type { MessageMeta } from '../../base/model.ts'
import { epochSeconds, wellFormed } from '../mime.ts'
import type { GraphMessage, GraphRecipient } from './schemas.ts'

/** Control characters and line ends would break the header that is built from the text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what has to be replaced
const CONTROLS = /[\u0000-\u001f\u007f]+/g
const oneLine = (text: string | null): string =>
  wellFormed(text ?? '')
    .replace(CONTROLS, ' ')
    .trim()

type Party = { name: string; address: string }
const party = (who: GraphRecipient | null): Party => ({
  name: oneLine(who?.emailAddress?.name ?? null),
  address: oneLine(who?.emailAddress?.address ?? null),
})

/** The address; somebody who has only a name is kept by it. */
const bare = ({ name, address }: Party): string => (address === '' ? name : address)
const isSomebody = (one: Party): boolean => bare(one) !== ''

function asHeader({ name, address }: Party): string {
  if (address === '') return name
  if (name === '' || name === address) return address
  const shown = /[",()<>@:;.\\[\]]/.test(name) ? `"${name.replace(/["\\]/g, '\\$&')}"` : name
  return `${shown} <${address}>`
}

const headerDate = (iso: string | null): string => {
  const ms = Date.parse(iso ?? '')
  return Number.isFinite(ms) ? new Date(ms).toUTCString().replace('GMT', '+0000') : ''
}

/** Header names as Gmail's, from the properties; what is absent is left out. */
function headersOf(people: Record<'From' | 'To' | 'Cc' | 'Bcc' | 'Reply-To', Party[]>, message: GraphMessage) {
  const headers: Record<string, string> = {}
  for (const [name, list] of Object.entries(people)) if (list.length > 0) headers[name] = list.map(asHeader).join(', ')
  const rest = {
    Subject: oneLine(message.subject),
    Date: headerDate(message.sentDateTime),
    'Message-ID': oneLine(message.internetMessageId),
  }
  for (const [name, value] of Object.entries(rest)) if (value !== '') headers[name] = value
  return headers
}

/** @param folderLabel label of the folder that it lies in; null when unknown. */
export function graphMeta(message: GraphMessage, folderLabel: string | null): MessageMeta {
  const parties = (list: GraphRecipient[] | null): Party[] => (list ?? []).map(party).filter(isSomebody)
  const from = [party(message.from), party(message.sender)].find(isSomebody)
  const people = {
    From: from === undefined ? [] : [from],
    To: parties(message.toRecipients),
    Cc: parties(message.ccRecipients),
    Bcc: parties(message.bccRecipients),
    'Reply-To': parties(message.replyTo),
  }
  const { receivedDateTime, categories } = message
  return {
    id: message.id,
    threadId: message.conversationId,
    msgDate: receivedDateTime === null ? null : epochSeconds(Date.parse(receivedDateTime)),
    subject: wellFormed(message.subject ?? '')
      .replace(/[\r\n]+/g, ' ')
      .trim(),
    sender: from === undefined ? '' : bare(from),
    to: people.To.map(bare),
    cc: people.Cc.map(bare),
    bcc: people.Bcc.map(bare),
    snippet: wellFormed(message.bodyPreview ?? ''),
    headers: headersOf(people, message),
    labels: [
      ...(folderLabel === null ? [] : [wellFormed(folderLabel)]),
      ...(message.isRead === false ? ['UNREAD'] : []),
      ...(categories ?? []).map(wellFormed),
    ],
  }
}
