/**
 * Keeps an event under a size in bytes of JSON by cutting its fields in a fixed order; never drops an event.
 * Pure; it knows no database and no broker.
 */
import type { EmailReceived } from '#shared/event.ts'

/** Largest event that is stored and published, bytes of JSON. */
export const EVENT_MAX_BYTES = 256 * 1024

type Cut = { name: string; apply(event: EmailReceived, budget: number): Partial<EmailReceived> }

const ORDER: readonly Cut[] = [
  { name: 'headers', apply: (event, budget) => ({ headers: clipMap(event.headers, 4 * budget) }) },
  { name: 'snippet', apply: (event, budget) => ({ snippet: clip(event.snippet, budget) }) },
  { name: 'to_addrs', apply: (event, budget) => ({ to_addrs: clipList(event.to_addrs, budget) }) },
  { name: 'cc_addrs', apply: (event, budget) => ({ cc_addrs: clipList(event.cc_addrs, budget) }) },
  { name: 'bcc_addrs', apply: (event, budget) => ({ bcc_addrs: clipList(event.bcc_addrs, budget) }) },
  { name: 'labels', apply: (event, budget) => ({ labels: clipList(event.labels, budget) }) },
  { name: 'subject', apply: (event, budget) => ({ subject: clip(event.subject, budget) }) },
  { name: 'sender', apply: (event, budget) => ({ sender: clip(event.sender, budget) }) },
]

const bytesOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value))

/** An event that is stored, and as it is published: cut to `EVENT_MAX_BYTES`. */
export type SizedEvent = { event: EmailReceived; payload: Buffer }
export function sizeEvent(whole: EmailReceived): SizedEvent {
  const payload = payloadOf(whole)
  if (payload.length <= EVENT_MAX_BYTES) return { event: whole, payload }
  const event = cutEvent(whole)
  return { event, payload: payloadOf(event) }
}

/** The bytes of an event, as they are published. */
export const payloadOf = (event: EmailReceived): Buffer => Buffer.from(JSON.stringify(event))

/** The event itself when it fits, else one whose fields are cut one after the other and named in `truncated`. */
export function cutEvent(event: EmailReceived, maxBytes: number = EVENT_MAX_BYTES): EmailReceived {
  if (bytesOf(event) <= maxBytes) return event
  // All eight budgets together are 11/16; the ids, names and numbers have the rest.
  const budget = Math.floor(maxBytes / 16)
  let cut = event
  const truncated = new Set(event.truncated)
  for (const { name, apply } of ORDER) {
    const part = apply(cut, budget)
    if (bytesOf({ ...cut, ...part }) < bytesOf(cut)) truncated.add(name)
    cut = { ...cut, ...part, truncated: [...truncated] }
    if (bytesOf(cut) <= maxBytes) return cut
  }
  return cut
}

/** The longest beginning of `text` whose JSON has at most `maxBytes` bytes; no character is halved. */
function clip(text: string, maxBytes: number): string {
  if (bytesOf(text) <= maxBytes) return text
  let [fits, over] = [0, text.length]
  while (over - fits > 1) {
    const middle = (fits + over) >> 1
    if (bytesOf(text.slice(0, middle)) <= maxBytes) fits = middle
    else over = middle
  }
  return text.slice(0, fits).replace(/[\uD800-\uDBFF]$/, '')
}

function clipList(list: readonly string[], maxBytes: number): string[] {
  const kept: string[] = []
  let left = maxBytes - 2
  for (const entry of list) {
    if (left < 4) break
    const part = clip(entry, left - 1)
    kept.push(part)
    left -= bytesOf(part) + 1
  }
  return kept
}

/** Every value gets an equal share, so that a long one does not take the room of the others. */
function clipMap(map: Record<string, string>, maxBytes: number): Record<string, string> {
  const entries = Object.entries(map)
  const share = Math.floor(maxBytes / Math.max(entries.length, 1))
  return Object.fromEntries(entries.map(([name, value]) => [name, clip(value, Math.max(2, share - bytesOf(name) - 2))]))
}
