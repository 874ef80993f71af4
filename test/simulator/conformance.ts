/**
 * Owns the check of answers against the vendors' own types (`schema/vendor.json`, made by
 * `scripts/simulator-schema.ts`). Refuses to judge behaviour: types say nothing about it.
 */
import { readFileSync } from 'node:fs'
import { Ajv } from 'ajv'
import type { Answer } from './types.ts'

const WHOLE: Record<string, string> = {
  'gmail.profile': 'GmailProfile',
  'gmail.labels.list': 'GmailLabels',
  'gmail.labels.get': 'GmailLabel',
  'gmail.messages.list': 'GmailMessages',
  'gmail.messages.get': 'GmailMessage',
  'gmail.messages.insert': 'GmailMessage',
  'gmail.messages.modify': 'GmailMessage',
  'gmail.messages.trash': 'GmailMessage',
  'gmail.messages.untrash': 'GmailMessage',
  'gmail.history.list': 'GmailHistory',
  'gmail.watch': 'GmailWatch',
  'graph.me': 'GraphUser',
  'graph.mailFolders.get': 'GraphFolder',
  'graph.messages.get': 'GraphMessage',
}
const ITEMS: Record<string, string> = {
  'graph.mailFolders.list': 'GraphFolder',
  'graph.mailFolders.childFolders': 'GraphFolder',
  'graph.mailFolders.delta': 'GraphFolder',
  'graph.messages.list': 'GraphMessage',
  'graph.messages.delta': 'GraphMessage',
}
const UINT64_FIELDS = new Set(['historyId', 'internalDate', 'expiration'])

/** OData annotations are not part of a type. */
function withoutAnnotations(item: object): object {
  return Object.fromEntries(Object.entries(item).filter(([name]) => !name.includes('@')))
}

/** The types say "string"; Google's discovery document says uint64 or int64. */
function badIntegers(value: unknown): string[] {
  if (value === null || typeof value !== 'object') return []
  return Object.entries(value).flatMap(([name, one]) => {
    const bad = UINT64_FIELDS.has(name) && !(typeof one === 'string' && /^\d+$/.test(one) && BigInt(one) < 2n ** 64n)
    return bad ? [`${name} is ${JSON.stringify(one)}`] : badIntegers(one)
  })
}

interface Conformance {
  /** Hand this to `startSimulator({ onAnswer })`. Distorted answers are not judged. */
  onAnswer: (route: string, answer: Answer, fault: string | undefined) => void
  checked: () => Record<string, number>
  problems: () => readonly string[]
}

export function createConformance(): Conformance {
  const schema = JSON.parse(readFileSync(new URL('schema/vendor.json', import.meta.url), 'utf8')) as object
  const ajv = new Ajv({ strict: false, allErrors: true })
  ajv.addSchema(schema, 'vendor')
  const counts: Record<string, number> = {}
  const problems: string[] = []

  const check = (route: string, type: string, body: object): void => {
    if (!ajv.validate(`vendor#/definitions/${type}`, body)) problems.push(`${route}: ${ajv.errorsText()}`)
    if (type.startsWith('Gmail')) problems.push(...badIntegers(body).map((text) => `${route}: ${text}`))
  }
  const onAnswer: Conformance['onAnswer'] = (route, { status, body }, fault) => {
    if (status !== 200 || fault !== undefined || typeof body !== 'object') return
    const whole = WHOLE[route]
    const items = ITEMS[route]
    if (whole) check(route, whole, withoutAnnotations(body))
    if (items) for (const item of (body as { value: object[] }).value) check(route, items, withoutAnnotations(item))
    if (whole || items) counts[route] = (counts[route] ?? 0) + 1
  }
  return { onAnswer, checked: () => counts, problems: () => problems }
}
