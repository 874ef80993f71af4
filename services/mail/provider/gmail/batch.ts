/**
 * A batch of Gmail as text: many GETs in one multipart/mixed, their answers in another
 * (developers.google.com/workspace/gmail/api/guides/batch). Pure: it sends nothing and judges no answer.
 */

/** The answer to one GET. */
export type Part = {
  status: number
  headers: Headers
  /** undefined = no JSON. */
  body: unknown
}

/** Encoded paths have no line break, so that it cannot stand in one. */
const BOUNDARY = 'mail-sync-batch'
export const BATCH_TYPE = `multipart/mixed; boundary=${BOUNDARY}`

/** @param paths encoded, with their queries; the place of each is its number in the answer. */
export function writeBatch(paths: readonly string[]): string {
  const parts = paths.map(
    (path, at) =>
      `--${BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <item-${at}>\r\n\r\nGET ${path} HTTP/1.1\r\n\r\n`,
  )
  return `${parts.join('\r\n')}\r\n--${BOUNDARY}--\r\n`
}

/**
 * The answers that can be read, by the number of their GET, in whatever order they came. Left out is what is cut off, has no
 * number that was asked for, or came twice: nobody knows which of two is the answer. Nothing that is no multipart is read, and
 * no more than twice as many parts as were asked for.
 */
export function readBatch(contentType: string, text: string, asked: number): Map<number, Part> {
  const found = new Map<number, Part>()
  const twice = new Set<number>()
  const boundary = boundaryOf(contentType)
  if (boundary === null) return found
  // What stands before the first delimiter is no part; what stands behind the last one has not come to its end.
  for (const piece of `\n${text}`.split(`\n--${boundary}`, 2 * asked + 2).slice(1, -1)) {
    const read = readPiece(piece)
    if (read === null || read.at >= asked) continue
    if (found.has(read.at)) twice.add(read.at)
    found.set(read.at, read.part)
  }
  for (const at of twice) found.delete(at)
  return found
}

const MULTIPART = /^multipart\/mixed\s*;.*?\bboundary=(?:"([^"\r\n]{1,70})"|([^\s";,]{1,70}))/i
function boundaryOf(contentType: string): string | null {
  const found = MULTIPART.exec(contentType)
  return found?.[1] ?? found?.[2] ?? null
}

/** Blanks to the end of the delimiter's line, headers of the part, an empty line, and an answer of HTTP. */
function readPiece(piece: string): { at: number; part: Part } | null {
  const [head, http] = cut(piece)
  const [start, text] = cut(http)
  const at = /^content-id:[ \t]*<response-item-(\d{1,4})>[ \t]*$/im.exec(head)?.[1]
  const status = /^HTTP\/\d(?:\.\d)? (\d{3})\b/.exec(start)?.[1]
  if (!/^[ \t]*\r?\n/.test(head) || at === undefined || status === undefined) return null
  const headers = readHeaders(start)
  const isJson = /^application\/json\b/i.test(headers.get('content-type') ?? '')
  return { at: Number(at), part: { status: Number(status), headers, body: isJson ? parsed(text) : undefined } }
}

/** What stands before and behind the first empty line. */
function cut(text: string): [before: string, behind: string] {
  const found = /\r?\n\r?\n/.exec(text)
  return found === null ? [text, ''] : [text.slice(0, found.index), text.slice(found.index + found[0].length)]
}

/** Those that are needed; all others stay unread. */
const KEPT = ['content-type', 'date', 'retry-after']
function readHeaders(start: string): Headers {
  const headers = new Headers()
  for (const line of start.split(/\r?\n/)) {
    const [, name = '', value = ''] = /^([a-z-]+):[ \t]*([\x20-\x7e]*)$/i.exec(line) ?? []
    if (KEPT.includes(name.toLowerCase())) headers.set(name, value)
  }
  return headers
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
