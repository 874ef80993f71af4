/**
 * The only judge of addresses that came from outside: links in a provider's answers, redirect targets, stored cursors.
 * Pure: it never connects and never resolves a name.
 */

/** Where the provider lives by configuration: exact origin, and the path below which every address must lie. */
export type ProviderGate = { origin: string; pathPrefix: string }

const MAX_LENGTH = 8 * 1024
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/

/** Why an address was refused; the address itself is left out, because it may carry a token. */
export class UrlRefused extends Error {
  override readonly name = 'UrlRefused'
  readonly reason: string
  constructor(reason: string) {
    super(`address refused: ${reason}`)
    this.reason = reason
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what has to be refused
const ODD_CHARACTERS = /[\u0000-\u0020\u007f\\]/

/**
 * Parses and checks an absolute address.
 * @throws UrlRefused
 */
export function safeProviderUrl(text: string, gate: ProviderGate): URL {
  if (typeof text !== 'string' || text.length > MAX_LENGTH) throw new UrlRefused('not a string of at most 8 KiB')
  if (ODD_CHARACTERS.test(text)) throw new UrlRefused('backslash, blank or control character')
  const url = URL.parse(text)
  if (url === null) throw new UrlRefused('not an absolute address')
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && LOOPBACK.test(url.hostname))) {
    throw new UrlRefused('neither https nor loopback')
  }
  if (url.username !== '' || url.password !== '') throw new UrlRefused('carries credentials')
  if (url.hash !== '') throw new UrlRefused('carries a fragment')
  if (url.origin !== gate.origin) throw new UrlRefused('another origin')
  if (!url.pathname.startsWith(gate.pathPrefix)) throw new UrlRefused('outside the path of the provider')
  return url
}

/** The gate of a configured base address: its origin, and its path as the prefix. */
export function gateOf(baseUrl: string): ProviderGate {
  const { origin, pathname } = new URL(baseUrl)
  return { origin, pathPrefix: pathname.endsWith('/') ? pathname : `${pathname}/` }
}
