/**
 * Header text as a mail client shows it: RFC 2047 words, folding, address lists. Decoding is postal-mime's; this file
 * repairs what breaks there and checks that no address got lost. Pure, and it never throws on any text.
 */
import { type Address, addressParser, decodeWords } from 'postal-mime'

const REPLACEMENT = '\ufffd'

/** Text that every encoder takes: lone surrogates become U+FFFD. */
export const wellFormed = (text: string): string => text.toWellFormed()

/** Folded lines as one line. */
const unfold = (text: string): string => text.replace(/\r?\n[ \t]+|[\r\n]+/g, ' ')

/** A bare "?" inside a Q word ends it for a strict reader ("=?utf-8?Q?Really??="). */
const OPEN_Q_WORD = /=\?([^?\s]+)\?[Qq]\?((?:(?!=\?)\S)*?)\?=(?=$|[\s",;()<>]|=\?)/g
const escapeQuestionMarks = (text: string): string =>
  text.replace(OPEN_Q_WORD, (_, charset: string, inner: string) => `=?${charset}?Q?${inner.replaceAll('?', '=3F')}?=`)

/** Two adjacent B words, the first of which ends in padding: a character may be cut between them. */
const B_PAIR = /=\?([^?\s]+)\?[Bb]\?([A-Za-z0-9+/]+=*)\?=[ \t]*=\?([^?\s]+)\?[Bb]\?([A-Za-z0-9+/]+=*)\?=/
function joinBinaryWords(text: string): string {
  let joined = text
  for (let turns = 0; turns < 64; turns++) {
    const pair = B_PAIR.exec(joined)
    const [whole, charset = '', left = '', other = '', right = ''] = pair ?? []
    if (pair === null || whole === undefined || charset.toLowerCase() !== other.toLowerCase()) return joined
    const bytes = Buffer.concat([Buffer.from(left, 'base64'), Buffer.from(right, 'base64')])
    const word = `=?${charset}?B?${bytes.toString('base64')}?=`
    joined = joined.slice(0, pair.index) + word + joined.slice(pair.index + whole.length)
  }
  return joined
}

/** An unstructured header (Subject, a name) decoded to one line. */
export function headerText(raw: string): string {
  const text = escapeQuestionMarks(unfold(wellFormed(raw)))
  const plain = decodeWords(text)
  const joined = plain.includes(REPLACEMENT) ? decodeWords(joinBinaryWords(text)) : plain
  return wellFormed(unfold(joined.includes(REPLACEMENT) ? plain : joined)).trim()
}

/** `Jane <jane@x.org, bob@y.org`: closes the bracket before the next address is swallowed. */
const OPEN_BRACKET = /<\s*([^<>\s,;"@]+@[^<>\s,;"]+)\s*(?=[,;]|$)/g
/** `"john smith"@x.org`: in brackets the quotes survive. */
// Quoted parts are bounded: unclosed quotes by the thousand would otherwise each be looked for to the end of the header.
const QUOTED_LOCAL = /(^|[,;:]\s*)("(?:[^"\\]|\\.){0,256}"@[^\s,;<>()"]+)/g
const GOOD_ADDRESS = /^(?:"[^"]*(?:\\"[^"]*)*"|[^\s@,;<>"()]+)@[^\s@,;<>"()]+$/
/** What must not be mistaken for an address: quoted text and comments. */
const QUOTED_OR_COMMENT = /"(?:[^"\\]|\\.){0,256}"@?|\([^()]*\)/g
/** Splitting is linear where a pattern with "+@" would be quadratic. */
const SEPARATORS = /[\s<>(),;:"]+/

type Flat = { address: string; name: string }

const flat = (list: Address[]): Flat[] =>
  list.flatMap((one) => (one.group === undefined ? [{ address: one.address ?? '', name: one.name }] : flat(one.group)))

/** One parsed entry as bare addresses; text that holds none is kept whole. */
function addressesOf({ address, name }: Flat): string[] {
  if (GOOD_ADDRESS.test(address)) return [address]
  const parts = address.split(/[\s,;<>]+/).filter((part) => part !== '')
  if (parts.length > 1 && parts.every((part) => GOOD_ADDRESS.test(part))) return parts
  const whole = (address === '' ? name : address).trim()
  return whole === '' ? [] : [whole]
}

/**
 * Bare addresses of an address header, as written, groups flattened.
 * @param raw one header value; empty = no address.
 */
export function addressList(raw: string): string[] {
  const text = unfold(wellFormed(raw)).trim()
  if (text === '') return []
  const repaired = text.replace(OPEN_BRACKET, '<$1>').replace(QUOTED_LOCAL, '$1<$2>')
  const parsed = addressParser(repaired)
  const entries = flat(parsed)
  const found = entries.flatMap(addressesOf)
  const seen = new Set(found)
  const rest: { text: string | null } = { text: null }
  for (const token of text.replace(QUOTED_OR_COMMENT, ' ').split(SEPARATORS)) {
    if (!/^[^@]+@[^@]/.test(token) || seen.has(token)) continue
    rest.text ??= entries.map(({ address, name }) => `${address} ${name}`).join('\n')
    if (rest.text.includes(token)) continue
    seen.add(token)
    found.push(token)
  }
  const isGroup = parsed.some((one) => one.group !== undefined)
  return (found.length > 0 || isGroup ? found : [text]).map(wellFormed)
}

const LAST_SECOND = 253_402_300_799

/** Epoch milliseconds of a provider as epoch seconds: null when it is no time, at most the year 9999. */
export function epochSeconds(ms: number): number | null {
  if (!Number.isFinite(ms) || ms < 0) return null
  return Math.min(LAST_SECOND, Math.floor(ms / 1000))
}
