/**
 * Finds secrets in bytes of any kind, however they are written there: plain, percent-encoded, base64 and base64url wherever
 * they begin in a longer text, hex, UTF-16. Of a long one its beginning or its end is enough, as a log may cut it.
 */

/** So much of the beginning or the end of a secret tells it from everything else. */
const PART_CHARS = 16
/** What is looked up at each place; every spelling is longer. */
const WINDOW = 8

type Needle = { text: string; name: string; spelling: string }

export class Canaries {
  readonly #byWindow = new Map<string, Needle[]>()
  readonly #known = new Set<string>()

  get size(): number {
    return this.#known.size
  }

  /** @param name what a finding is reported as, such as `ada: refresh token`. */
  add(name: string, secret: string): void {
    if (secret.length < WINDOW) throw new Error(`${name} is too short to be told from chance`)
    if (this.#known.has(secret)) return
    this.#known.add(secret)
    const parts = secret.length <= PART_CHARS ? [secret] : [secret.slice(0, PART_CHARS), secret.slice(-PART_CHARS)]
    for (const part of new Set(parts))
      for (const [spelling, text] of spellings(part)) {
        const window = text.slice(0, WINDOW)
        const needles = this.#byWindow.get(window) ?? []
        needles.push({ text, name, spelling })
        this.#byWindow.set(window, needles)
      }
  }

  /** What stands in these bytes, each as `name, spelling`; `except` leaves out names. */
  in(bytes: Uint8Array | string, except: (name: string) => boolean = () => false): string[] {
    const buffer = Buffer.from(bytes as string)
    const text = buffer.toString('latin1')
    const found = new Set<string>()
    for (let at = 0; at + WINDOW <= text.length; at++) {
      const needles = this.#byWindow.get(text.slice(at, at + WINDOW))
      for (const needle of needles ?? [])
        if (text.startsWith(needle.text, at) && !except(needle.name)) found.add(`${needle.name}, ${needle.spelling}`)
    }
    return [...found]
  }
}

/** Each way to write a text, as the latin1 characters of its bytes. */
export function spellings(part: string): [spelling: string, text: string][] {
  const utf8 = Buffer.from(part)
  const utf16 = Buffer.from(part, 'utf16le')
  const hex = utf8.toString('hex')
  const base64 = [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), utf8]).toString('base64')
    // Only the characters that no neighbour has a part in.
    return text.slice(Math.ceil((shift * 8) / 6), Math.floor(((shift + utf8.length) * 8) / 6))
  })
  const written: [string, string][] = [
    ['plain', utf8.toString('latin1')],
    ['percent', encodeURIComponent(part)],
    ['hex', hex],
    ['hex', hex.toUpperCase()],
    ['UTF-16', utf16.toString('latin1')],
    ['UTF-16', Buffer.from(utf16).swap16().toString('latin1')],
    ...base64.map((text): [string, string] => ['base64', text]),
    ...base64.map((text): [string, string] => ['base64url', text.replaceAll('+', '-').replaceAll('/', '_')]),
  ]
  const seen = new Set<string>()
  return written.filter(([, text]) => !seen.has(text) && seen.add(text))
}
