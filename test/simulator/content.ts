/**
 * Owns what a mail says: a pure function of (mailbox key, i). Refuses state: kind, people, subject and preview of
 * mail i are computed again at each request.
 */
import { hashText, mix, pick, unit } from './random.ts'
import type { Mix, Overrides, Person } from './types.ts'

export type Kind = 'inbox' | 'archived' | 'sent' | 'draft' | 'spam' | 'trash' | 'chat'

export interface Content {
  /** As a mail client shows it. */
  subject: string
  from: Person
  to: readonly Person[]
  cc: readonly Person[]
  bcc: readonly Person[]
  /** Plain text, not escaped. */
  preview: string
  invite: boolean
  date: 'good' | 'missing' | 'broken'
  messageId: string
  /** Chooses the spelling of the headers. */
  style: number
}

export const DEFAULT_MIX: Mix = {
  sent: 0.1,
  draft: 0.02,
  spam: 0.03,
  trash: 0.03,
  chat: 0.01,
  archived: 0.15,
  eventMessage: 0.03,
  nonAscii: 0.3,
  hugeTo: 0.004,
  missingDate: 0.01,
}

const EPOCH_MS = Date.UTC(2024, 0, 1)

/** Epoch ms at which the provider accepted seeded mail i; grows with i. */
export function seededTimeMs(key: number, i: number): number {
  return EPOCH_MS + i * 60_000 + (mix(key, i, 1) % 60) * 1000
}

export function mailboxKey(seed: number, provider: string, user: string): number {
  return hashText(`${provider}:${user}`, seed)
}

export function kindOf(key: number, i: number, share: Mix): Kind {
  let left = unit(key, i, 2)
  for (const kind of ['sent', 'draft', 'spam', 'trash', 'chat', 'archived'] as const) {
    if (left < share[kind]) return kind
    left -= share[kind]
  }
  return 'inbox'
}

const PLAIN_NAMES = [
  'Ada Lovelace',
  'Grace Hopper',
  "Conan O'Brien",
  'Smith, John (Sales)',
  'A "Q" Tester',
  '',
] as const
const OTHER_NAMES = ['Jürgen Müller', '山田 太郎', 'Ольга Петрова', 'عمر', 'Zoë 🚀', 'Łukasz, Żak'] as const
const PLAIN_SUBJECTS = [
  'Invoice 4711 is due',
  'Re: minutes of the meeting',
  'Fwd: Fwd: <b>not html</b> & more',
  'Your order has shipped; thank you!',
  'Weekly report',
  '',
] as const
const OTHER_SUBJECTS = [
  'Grüße aus Köln – Straßenfest am Samstag',
  '会議の議事録について(第3回)ご確認ください',
  'Привет из Москвы: отчёт за квартал',
  '🎉 You won 🎉 👩‍👩‍👧‍👦 family plan',
  'مرحبا بالعالم',
  'bell\u0007 and unit separator\u001f inside',
] as const
const PREVIEWS = [
  'Tom & Jerry said "hello" <there>',
  "it's 5 > 3",
  'Plain words only',
  '日本語のプレビュー',
  'zero\u200cwidth \u00ad and nbsp\u00a0here 😀',
  '',
] as const

function person(key: number, i: number, salt: number, nonAscii: boolean): Person {
  const hash = mix(key, i, salt)
  const name = nonAscii && hash % 3 === 0 ? pick(OTHER_NAMES, hash >>> 4) : pick(PLAIN_NAMES, hash >>> 4)
  const local = hash % 17 === 0 ? `"odd ${hash % 100}"` : `p${(hash >>> 8) % 5000}`
  return { name, address: `${local}@${hash % 5 === 0 ? 'Example.COM' : 'mail.example.org'}` }
}

function people(key: number, i: number, salt: number, count: number, nonAscii: boolean): Person[] {
  return Array.from({ length: count }, (_, at) => person(key, i, salt + at, nonAscii))
}

interface ContentSource {
  key: number
  share: Mix
  owner: Person
}

/** The content of mail i, with what a delivery fixed. */
export function contentOf(source: ContentSource, i: number, kind: Kind, overrides?: Overrides): Content {
  const { key, share, owner } = source
  const nonAscii = unit(key, i, 10) < share.nonAscii
  const style = mix(key, i, 11)
  const subject = nonAscii ? pick(OTHER_SUBJECTS, style >>> 3) : pick(PLAIN_SUBJECTS, style >>> 3)
  const mine = kind === 'sent' || kind === 'draft'
  const others = people(key, i, 1000, unit(key, i, 12) < share.hugeTo ? 1500 : 1 + (style % 3), nonAscii)
  const date = unit(key, i, 13)
  return {
    subject: overrides?.subject ?? (subject && `${subject} #${i}`),
    from: overrides?.from ?? (mine ? owner : person(key, i, 20, nonAscii)),
    to: overrides?.to ?? (kind === 'draft' && style % 2 ? [] : mine ? others : [owner, ...others.slice(1)]),
    cc: overrides?.cc ?? (style % 4 === 0 ? people(key, i, 40, 2, nonAscii) : []),
    bcc: mine && style % 8 === 1 ? people(key, i, 60, 1, nonAscii) : [],
    preview: overrides?.preview ?? pick(PREVIEWS, style >>> 6),
    invite: !mine && unit(key, i, 14) < share.eventMessage,
    date: date < share.missingDate ? 'missing' : date < 2 * share.missingDate ? 'broken' : 'good',
    messageId: `<${mix(key, i, 15).toString(16)}.${i}@mail.example.org>`,
    style,
  }
}
