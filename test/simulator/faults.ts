/**
 * Owns the scripted faults: which rule fires for a request, and what a fault makes of an answer.
 * Refuses to touch sockets (transport.ts does) and mailboxes (server.ts does).
 */
import { googleError, googleRateLimit, graphError, graphThrottled } from './answers.ts'
import { mix, unit } from './random.ts'
import type { Answer, Fault, ProviderName, Rule } from './types.ts'

export interface Subject {
  provider: ProviderName
  route: string
  mailbox: string | null
}

export type Faults = ReturnType<typeof createFaults>

export function createFaults(seed: number) {
  const rules: { rule: Rule; serial: number; seen: number; fired: number }[] = []
  let serial = 0

  const matches = ({ match = {} }: Rule, subject: Subject): boolean => {
    const route = match.route?.endsWith('*')
      ? subject.route.startsWith(match.route.slice(0, -1))
      : subject.route === match.route
    return (
      (match.provider === undefined || match.provider === subject.provider) &&
      (match.route === undefined || route) &&
      (match.mailbox === undefined || match.mailbox === subject.mailbox)
    )
  }
  const isDue = ({ match = {} }: Rule, seen: number, id: number): boolean =>
    (match.nth === undefined || seen === match.nth) &&
    (match.every === undefined || seen % match.every === 0) &&
    (match.p === undefined || unit(seed, seen, id) < match.p)

  return {
    /** Rules are tried in the order in which they were added; the first that fires wins. */
    add: (rule: Rule): void => {
      rules.push({ rule, serial: serial++, seen: 0, fired: 0 })
    },
    clear: (): void => {
      rules.length = 0
    },
    pick: (subject: Subject): Fault | undefined => {
      let chosen: Fault | undefined
      for (const entry of rules) {
        if (!matches(entry.rule, subject)) continue
        entry.seen++
        const most = entry.rule.times ?? (entry.rule.match?.nth === undefined ? Number.POSITIVE_INFINITY : 1)
        if (chosen || entry.fired >= most || !isDue(entry.rule, entry.seen, entry.serial)) continue
        entry.fired++
        chosen = entry.rule.fault
      }
      return chosen
    },
  }
}

/** Faults that replace the answer before the mailbox is asked. `nowMs` is the simulator's clock. */
export function replacement(
  fault: Fault | undefined,
  provider: ProviderName,
  hasPageToken: boolean,
  nowMs: number,
): Answer | null {
  const google = provider === 'google'
  switch (fault?.type) {
    case '429': {
      const retryAfter = { 'retry-after': String(fault.retryAfter) }
      if (!google) return graphThrottled(fault.retryAfter, 'Application is over its MailboxConcurrency limit.')
      return { ...googleRateLimit(nowMs + fault.retryAfter * 1000, 'rateLimitExceeded', 429), headers: retryAfter }
    }
    case '403rate':
      return googleRateLimit(nowMs + fault.retryAfter * 1000, fault.reason ?? 'userRateLimitExceeded')
    case '403scope':
      return google
        ? googleError(403, 'Request had insufficient authentication scopes.', {
            reason: 'insufficientPermissions',
            status: 'PERMISSION_DENIED',
          })
        : graphError(403, 'ErrorAccessDenied', 'Access is denied. Check credentials and try again.')
    case '400precondition':
      return googleError(400, 'Precondition check failed.', {
        reason: 'failedPrecondition',
        status: 'FAILED_PRECONDITION',
      })
    case '500':
      return google
        ? googleError(500, 'Internal error encountered.', { reason: 'backendError', status: 'INTERNAL' })
        : graphError(500, 'InternalServerError', 'An unexpected error occurred.')
    case '503': {
      const answer = google
        ? googleError(503, 'The service is currently unavailable.', { reason: 'backendError', status: 'UNAVAILABLE' })
        : graphError(503, 'ServiceUnavailable', 'Service is temporarily unavailable.')
      if (fault.retryAfter === undefined) return answer
      return { ...answer, headers: { 'retry-after': String(fault.retryAfter) } }
    }
    case '502html':
      return {
        status: 502,
        headers: { 'content-type': 'text/html; charset=UTF-8' },
        body: '<html><title>502 Bad Gateway</title></html>',
      }
    case 'htmlOk':
      return {
        status: 200,
        headers: { 'content-type': 'text/html' },
        body: '<!doctype html><title>Sign in to the network</title>',
      }
    case 'badPageToken':
      if (!hasPageToken) return null
      return google
        ? googleError(400, 'Invalid pageToken', {
            reason: fault.reason ?? 'invalidArgument',
            status: 'INVALID_ARGUMENT',
          })
        : graphError(400, 'ErrorInvalidUrlQuery', 'Badly formed token.')
    default:
      return null
  }
}

type Json = Record<string, unknown>
const LISTS = ['messages', 'value', 'history'] as const

function dropDeep(value: unknown, field: string): unknown {
  if (Array.isArray(value)) return value.map((one) => dropDeep(one, field))
  if (value === null || typeof value !== 'object') return value
  const kept = Object.entries(value).filter(([name]) => name !== field)
  return Object.fromEntries(kept.map(([name, one]) => [name, dropDeep(one, field)]))
}

function wrongTypes(body: Json): Json {
  const swap = (value: unknown) =>
    Array.isArray(value) ? { unexpected: true } : typeof value === 'string' ? 4711 : 'unexpected'
  return Object.fromEntries(Object.entries(body).map(([name, value]) => [name, swap(value)]))
}

function mapList(body: Json, names: readonly string[], change: (list: unknown[]) => unknown[]): Json {
  return Object.fromEntries(
    Object.entries(body).map(([name, value]) => [
      name,
      names.includes(name) && Array.isArray(value) ? change(value) : value,
    ]),
  )
}

function shuffled(list: readonly unknown[]): unknown[] {
  const keyed = list.map((one, at) => ({ one, rank: mix(list.length, at, 77) }))
  return keyed.sort((a, b) => a.rank - b.rank).map(({ one }) => one)
}

/** A record as real Gmail sometimes sends it: nothing but `messages`. Added, never in place of a typed record. */
function withBareRecord(list: unknown[]): unknown[] {
  const first = list[0]
  if (!first || typeof first !== 'object' || !('messages' in first) || !('id' in first)) return list
  return [{ id: first.id, messages: first.messages }, ...list]
}

/** The records of a page as one, as Gmail writes what happened at the same time. */
function asOneRecord(list: unknown[]): unknown[] {
  const one: Record<string, unknown> = {}
  for (const record of list as Record<string, unknown>[])
    for (const [name, value] of Object.entries(record))
      one[name] = Array.isArray(value) ? [...((one[name] as unknown[] | undefined) ?? []), ...value] : value
  return list.length === 0 ? list : [one]
}

function withNumberIds(body: Json): Json {
  const { historyId } = body
  return typeof historyId === 'string' ? { ...body, historyId: Number(historyId) } : body
}

/** Faults that change a good answer. */
export function distorted(fault: Fault | undefined, answer: Answer): Answer {
  if (!fault || answer.status !== 200) return answer
  if (fault.type === 'emptyBody') return { ...answer, body: '' }
  if (typeof answer.body !== 'object') return answer
  const body = answer.body as Json
  switch (fault.type) {
    case 'dupItems':
      return { ...answer, body: mapList(body, LISTS, (list) => [...list, ...list.filter((_, at) => at % 3 === 0)]) }
    case 'shuffle':
      return { ...answer, body: mapList(body, ['messages', 'value'], shuffled) }
    case 'dropField':
      return { ...answer, body: dropDeep(body, fault.field) as Json }
    case 'wrongType':
      return { ...answer, body: wrongTypes(body) }
    case 'messagesOnly':
      return { ...answer, body: mapList(body, ['history'], withBareRecord) }
    case 'oneRecord':
      return { ...answer, body: mapList(body, ['history'], asOneRecord) }
    case 'brokenItem':
      return { ...answer, body: mapList(body, LISTS, ([, ...list]) => [null, ...list]) }
    case 'numberIds':
      return { ...answer, body: withNumberIds(body) }
    default:
      return answer
  }
}
