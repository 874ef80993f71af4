/**
 * Owns the seeded part of a Gmail mailbox: labels, ids and history ids of mail i as pure functions.
 * Refuses state; gmail-mailbox.ts lays the changes over it.
 */
import { type Content, contentOf, DEFAULT_MIX, type Kind, kindOf, mailboxKey, seededTimeMs } from './content.ts'
import { mix, pick, scramble, unscramble } from './random.ts'
import type { MailboxSpec, Mix, Overrides } from './types.ts'

export interface GmailState {
  labels: readonly string[]
  internalMs: number
  /** When it came into the mailbox; null for seeded mail. */
  addedMs: number | null
  historyId: bigint
  /** It was an event at some moment. */
  everEvent: boolean
  deleted: boolean
  thread: number
  overrides?: Overrides
}

const NOT_EVENTS = new Set(['DRAFT', 'CHAT', 'SPAM', 'TRASH'])
const TWO_53 = 2n ** 53n

export function isGmailEvent(labels: readonly string[]): boolean {
  return !labels.some((label) => NOT_EVENTS.has(label))
}

/** Mailboxes start just below a change of digits or below 2^53: comparing as text or as Number goes wrong. */
function firstHistoryId(key: number, n: number): bigint {
  return key % 2 === 0 ? 10n ** BigInt(String(4 * n + 1000).length) - 10n : TWO_53 - 5n
}

function kindByLabels(labels: readonly string[]): Kind {
  const kinds = ['sent', 'draft', 'spam', 'trash', 'chat'] as const
  return kinds.find((kind) => labels.includes(kind.toUpperCase())) ?? 'inbox'
}

export type GmailSeed = ReturnType<typeof createGmailSeed>

export function createGmailSeed(spec: MailboxSpec) {
  const key = mailboxKey(spec.seed ?? 1, 'google', spec.user)
  const share: Mix = { ...DEFAULT_MIX, ...spec.mix }
  const address = `${spec.user}@gmail.example`
  const source = { key, share, owner: { name: 'Owner Of Mailbox', address } }
  const userLabels = (spec.folders ?? ['Receipts', 'Ä/Unter']).map((name, at) => ({ id: `Label_${at + 1}`, name }))
  const startId = firstHistoryId(key, spec.n)
  const tag = (key & 0xffffff).toString(16).padStart(6, '0')

  const labelsOf = (kind: Kind, i: number): string[] => {
    const hash = mix(key, i, 30)
    const unread = hash % 3 === 0 ? ['UNREAD'] : []
    const own = hash % 7 === 1 ? userLabels[hash % Math.max(1, userLabels.length)] : undefined
    const user = own ? [own.id] : []
    const extra = pick(['CATEGORY_PERSONAL', 'IMPORTANT', 'STARRED'], hash >>> 5)
    if (kind === 'inbox') return ['INBOX', ...unread, extra, ...user]
    if (kind === 'archived') return [...unread, ...user]
    return kind === 'spam' || kind === 'trash' ? [kind.toUpperCase(), ...unread] : [kind.toUpperCase()]
  }

  return {
    key,
    address,
    userLabels,
    startId,
    n: spec.n,
    user: spec.user,
    idOf: (i: number) => `19${scramble(key, i).toString(16).padStart(8, '0')}${tag}`,
    /** null = not an id of this mailbox; whether the mail exists is not said. */
    indexOf: (id: string): number | null =>
      /^19[0-9a-f]{14}$/.test(id) && id.endsWith(tag) ? unscramble(key, Number.parseInt(id.slice(2, 10), 16)) : null,
    stateOf: (i: number): GmailState => {
      const labels = labelsOf(kindOf(key, i, share), i)
      const historyId = startId - BigInt(4 * (spec.n - i)) + BigInt(mix(key, i, 32) % 3)
      const thread = Math.max(0, i - (mix(key, i, 31) % 3))
      const everEvent = isGmailEvent(labels)
      return { labels, internalMs: seededTimeMs(key, i), addedMs: null, historyId, everEvent, deleted: false, thread }
    },
    contentOf: (i: number, state: GmailState): Content => {
      const kind = state.overrides ? kindByLabels(state.labels) : kindOf(key, i, share)
      return contentOf(source, i, kind, state.overrides)
    },
  }
}
