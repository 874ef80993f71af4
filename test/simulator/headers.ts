/**
 * Owns the wire spelling of headers: RFC 2047 words in several (also broken) forms, groups, quoted commas, folding.
 * Refuses to decode anything; that is the job of what is tested.
 */
import type { Content } from './content.ts'
import type { Person } from './types.ts'

export interface Header {
  name: string
  value: string
}

const NEEDS_ENCODING = /[^\x20-\x7e]/

function quotedPrintable(text: string): string {
  const bytes = Buffer.from(text, 'utf8')
  return Array.from(bytes, (byte) =>
    (byte > 0x2f && byte < 0x3a) || (byte > 0x40 && byte < 0x5b) || (byte > 0x60 && byte < 0x7b)
      ? String.fromCharCode(byte)
      : byte === 0x20
        ? '_'
        : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`,
  ).join('')
}

/** Encoded words; `style` picks B, Q, split words with folding, a split inside a character, or raw UTF-8. */
function encodeWords(text: string, style: number): string {
  if (!NEEDS_ENCODING.test(text)) return text
  switch (style % 6) {
    case 0:
      return `=?UTF-8?B?${Buffer.from(text).toString('base64')}?=`
    case 1:
      return `=?utf-8?q?${quotedPrintable(text)}?=`
    case 2: {
      const letters = Array.from(text)
      const half = Math.ceil(letters.length / 2)
      const word = (part: string[]) => `=?UTF-8?B?${Buffer.from(part.join('')).toString('base64')}?=`
      return letters.length < 2 ? word(letters) : `${word(letters.slice(0, half))}\r\n ${word(letters.slice(half))}`
    }
    case 3: {
      const bytes = Buffer.from(text)
      const cut = Math.floor(bytes.length / 6) * 3
      const word = (part: Buffer) => `=?UTF-8?B?${part.toString('base64')}?=`
      return cut === 0 ? word(bytes) : `${word(bytes.subarray(0, cut))} ${word(bytes.subarray(cut))}`
    }
    case 4:
      return `=?UTF-8*en?Q?${quotedPrintable(text)}?=`
    default:
      return text
  }
}

function mailboxText(who: Person, style: number): string {
  if (!who.name) return style % 2 ? `<${who.address}>` : who.address
  if (NEEDS_ENCODING.test(who.name)) return `${encodeWords(who.name, style)} <${who.address}>`
  const name = /[",()<>@:;.\\]/.test(who.name) ? `"${who.name.replace(/["\\]/g, '\\$&')}"` : who.name
  return style % 5 === 1 ? `${who.address} (${who.name.replace(/[()"\\]/g, '')})` : `${name} <${who.address}>`
}

/** An address list as RFC 5322 writes it: sometimes folded, sometimes as a group. */
function addressList(list: readonly Person[], style: number): string {
  const parts = list.map((who, at) => mailboxText(who, style + at))
  if (style % 11 === 3 && parts.length > 1) return `Team: ${parts.join(', ')};`
  return parts.join(style % 3 === 0 ? ',\r\n\t' : ', ')
}

function dateHeader(content: Content, sentMs: number): Header[] {
  if (content.date === 'missing') return []
  if (content.date === 'broken') return [{ name: 'Date', value: 'Thu, 32 Foo 20XX 99:99' }]
  return [{ name: 'Date', value: new Date(sentMs).toUTCString().replace('GMT', '+0000') }]
}

/** The header lines of a mail in wire spelling; `To` may be `undisclosed-recipients:;`, names vary in case. */
export function headersOf(content: Content, sentMs: number): Header[] {
  const { style } = content
  const list: Header[] = [
    { name: 'Received', value: `by mx.example.org; ${new Date(sentMs).toUTCString()}` },
    ...dateHeader(content, sentMs),
    { name: 'From', value: addressList([content.from], style % 11 === 3 ? style + 1 : style) },
    { name: 'To', value: content.to.length > 0 ? addressList(content.to, style) : 'undisclosed-recipients:;' },
  ]
  if (content.cc.length > 0) list.push({ name: style % 2 ? 'CC' : 'Cc', value: addressList(content.cc, style + 1) })
  if (content.bcc.length > 0) list.push({ name: 'Bcc', value: addressList(content.bcc, style + 2) })
  if (content.subject) list.push({ name: 'Subject', value: encodeWords(content.subject, style >>> 2) })
  list.push({ name: style % 2 ? 'Message-ID' : 'Message-Id', value: content.messageId })
  if (style % 6 === 2) {
    list.push({ name: 'In-Reply-To', value: '<root@mail.example.org>' })
    list.push({ name: 'References', value: '<root@mail.example.org>\r\n <other@mail.example.org>' })
  }
  if (style % 9 === 4) list.push({ name: 'List-Id', value: 'News "of" <news.example.org>' })
  return list
}

export function htmlEscape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
}
