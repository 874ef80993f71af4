/**
 * Header text as a mail client shows it: RFC 2047 words, folding, address lists. Charsets and the grammar of addresses are
 * postal-mime's; this file repairs what breaks there and checks that no address got lost. Pure, and it never throws.
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

/** RFC 2047 words, and what may stand between two of them without being text. */
const WORD = /=\?([^?\s]+)\?([QqBb])\?([^?]*)\?=/g
const ONLY_SPACE = /^[ \t]*$/

/** Names of Latin-1. Under any other name that is read as Latin-1 the bytes are unknown, or should not be there. */
const NAMES_LATIN = /1252|8859|819|latin|ir-100|^l1$/
const NAMES_UTF7 = /utf-?7$/
const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

type Run = { charset: string; words: Buffer[] }

const latinBytes = (text: string): Buffer => Buffer.from(text, 'latin1')

function bytesOf(encoding: string, text: string): Buffer {
  if (encoding.toUpperCase() === 'B') return Buffer.from(text, 'base64')
  const spaced = text.replace(/=\s+(?=[\da-f])/gi, '=').replace(/[_\s]/g, ' ')
  const hex = (_: string, digits: string) => String.fromCharCode(Number.parseInt(digits, 16))
  return latinBytes(
    Buffer.from(spaced)
      .toString('latin1')
      .replace(/=([\da-f]{2})/gi, hex),
  )
}

/** RFC 2152, which no decoder at hand knows: UTF-16 in base64 between "+" and "-". */
const utf7 = (text: string): string =>
  text.replace(/\+([A-Za-z\d+/]*)-?/g, (_, base64: string) => {
    const bytes = Buffer.from(base64, 'base64')
    return base64 === ''
      ? '+'
      : bytes
          .subarray(0, bytes.length & ~1)
          .swap16()
          .toString('utf16le')
  })

function asUtf8(bytes: Buffer): string | null {
  try {
    return strictUtf8.decode(bytes)
  } catch (error) {
    if (error instanceof TypeError) return null
    throw error
  }
}

/** Bytes as text. What the charset is called elsewhere is postal-mime's knowledge; it takes an unknown one for Latin-1. */
function decoded(charset: string, bytes: Buffer): string {
  if (NAMES_UTF7.test(charset)) return utf7(bytes.toString('latin1'))
  const isUnknown = !NAMES_LATIN.test(charset) && decodeWords(`=?${charset}?Q?=D0=80?=`) === 'Ð€'
  // Seven-bit charsets of that kind would look like UTF-8.
  const guess = isUnknown && bytes.some((byte) => byte > 127) ? asUtf8(bytes) : null
  return guess ?? decodeWords(`=?${charset}?B?${bytes.toString('base64')}?=`)
}

const lost = (text: string): number => text.split(REPLACEMENT).length

/** Adjacent words of one charset. A character may be cut between two of them; or each may be whole, and joining breaks it. */
function runText({ charset, words }: Run): string {
  const joined = decoded(charset, Buffer.concat(words))
  if (words.length === 1 || !joined.includes(REPLACEMENT)) return joined
  const plain = words.map((word) => decoded(charset, word)).join('')
  return lost(plain) < lost(joined) ? plain : joined
}

/** Text with its encoded words decoded, in one pass. */
function withWords(text: string): string {
  let shown = ''
  let run: Run | null = null
  let at = 0
  for (const { 0: word, 1: label = '', 2: encoding = '', 3: inner = '', index } of text.matchAll(WORD)) {
    const between = text.slice(at, index)
    const charset = label.toLowerCase().replace(/\*.*$/, '') || 'utf-8'
    const bytes = bytesOf(encoding, inner)
    at = index + word.length
    const goesOn: boolean = run !== null && ONLY_SPACE.test(between)
    if (run !== null && goesOn && run.charset === charset) {
      run.words.push(bytes)
      continue
    }
    if (run !== null) shown += runText(run)
    if (!goesOn) shown += between
    run = { charset, words: [bytes] }
  }
  return shown + (run === null ? '' : runText(run)) + text.slice(at)
}

/** An unstructured header (Subject, a name) decoded to one line. */
export function headerText(raw: string): string {
  return wellFormed(unfold(withWords(escapeQuestionMarks(unfold(wellFormed(raw)))))).trim()
}

/** `Jane <jane@x.org, bob@y.org`: closes the bracket before the next address is swallowed. */
const OPEN_BRACKET = /<\s*([^<>\s,;"@]+@[^<>\s,;"]+)\s*(?=[,;]|$)/g
/** `"john smith"@x.org`: in brackets the quotes survive. */
// Quoted parts are bounded: unclosed quotes by the thousand would otherwise each be looked for to the end of the header.
const QUOTED_LOCAL = /(^|[,;:]\s*)("(?:[^"\\]|\\.){0,256}"@[^\s,;<>()"]+)/g
const GOOD_ADDRESS = /^(?:"[^"]*(?:\\"[^"]*)*"|[^\s@,;<>"()]+)@[^\s@,;<>"()]+$/
/** What must not be mistaken for an address: quoted text and comments. */
const QUOTED_OR_COMMENT = /"(?:[^"\\]|\\.){0,256}"@?|\([^()]*\)/g
/** `<@relay.org,@other.org:c@d.org>`: a route of relays, which nobody has used since RFC 1123, before the address. */
const OBSOLETE_ROUTE = /<\s*@[^<>:;"()]*:\s*/g
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

/** Without quoted text, comments and the names in front of brackets: all of them may hold what looks like an address. */
function withoutNames(text: string): string {
  const pieces = text.replace(QUOTED_OR_COMMENT, ' ').split('<')
  const last = pieces.pop() ?? ''
  const kept = pieces.map((piece) =>
    piece.slice(0, 1 + Math.max(...['>', ',', ';', ':'].map((end) => piece.lastIndexOf(end)))),
  )
  return [...kept, last].join('<')
}

/** Addresses that the parser took for part of a name, because the comma before them is missing. */
function overlooked(text: string, found: readonly string[]): string[] {
  const seen = new Set(found.flatMap((address) => [address, ...address.split(SEPARATORS)]))
  const tokens = withoutNames(text).split(SEPARATORS)
  return [...new Set(tokens)].filter((token) => /^[^@]+@[^@]/.test(token) && !seen.has(token))
}

/**
 * Bare addresses of an address header, as written, groups flattened.
 * @param raw one header value; empty = no address.
 */
export function addressList(raw: string): string[] {
  const text = unfold(wellFormed(raw)).trim()
  if (text === '') return []
  const repaired = text.replace(OBSOLETE_ROUTE, '<').replace(OPEN_BRACKET, '<$1>').replace(QUOTED_LOCAL, '$1<$2>')
  const parsed = addressParser(repaired)
  const found = flat(parsed).flatMap(addressesOf)
  found.push(...overlooked(text, found))
  const isGroup = parsed.some((one) => one.group !== undefined)
  return (found.length > 0 || isGroup ? found : [text]).map(wellFormed)
}

const LAST_SECOND = 253_402_300_799

/** Epoch milliseconds of a provider as epoch seconds: null when it is no time, at most the year 9999. */
export function epochSeconds(ms: number): number | null {
  if (!Number.isFinite(ms) || ms < 0) return null
  // In JSON there is one zero only.
  return Math.min(LAST_SECOND, Math.floor(ms / 1000) + 0)
}
