/**
 * Owns one Gmail mailbox: which mails exist with which labels, and the history of its changes.
 * Refuses HTTP and quotas. Seeded mails are computed; only what a mutation touched is stored.
 */
import { type Content, contentOf, DEFAULT_MIX, type Kind, kindOf, mailboxKey, seededTimeMs } from './content.ts'
import { mix, pick, scramble, unscramble } from './random.ts'
import type { Clock, MailboxSpec, Mix, Mutation, Overrides, Truth } from './types.ts'

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

export interface HistoryRecord {
  id: bigint
  atMs: number
  index: number
  type: 'messageAdded' | 'messageDeleted' | 'labelAdded' | 'labelRemoved'
  /** Labels added or removed. */
  changed: readonly string[]
  /** Labels of the mail after the change. */
  labels: readonly string[]
}

export const SYSTEM_LABELS = [
  'INBOX',
  'SENT',
  'DRAFT',
  'SPAM',
  'TRASH',
  'UNREAD',
  'STARRED',
  'IMPORTANT',
  'CHAT',
] as const
const NOT_EVENTS = new Set(['DRAFT', 'CHAT', 'SPAM', 'TRASH'])
const HISTORY_LIFE_MS = 7 * 86_400_000
const TWO_53 = 2n ** 53n

export function isGmailEvent(labels: readonly string[]): boolean {
  return !labels.some((label) => NOT_EVENTS.has(label))
}

/** Mailboxes start just below a change of digits or below 2^53: comparing as text or as Number goes wrong. */
function firstHistoryId(key: number, n: number): bigint {
  return key % 2 === 0 ? 10n ** BigInt(String(4 * n + 1000).length) - 10n : TWO_53 - 5n
}

export type GmailMailbox = ReturnType<typeof createGmailMailbox>

export function createGmailMailbox(spec: MailboxSpec, clock: Clock) {
  const key = mailboxKey(spec.seed ?? 1, 'google', spec.user)
  const share: Mix = { ...DEFAULT_MIX, ...spec.mix }
  const address = `${spec.user}@gmail.example`
  const source = { key, share, owner: { name: 'Owner Of Mailbox', address } }
  const userLabels = (spec.folders ?? ['Receipts', 'Ä/Unter']).map((name, at) => ({ id: `Label_${at + 1}`, name }))
  const changed = new Map<number, GmailState>()
  const startId = firstHistoryId(key, spec.n)
  let currentId = startId
  let floorId = startId
  let count = spec.n
  let deleted = 0
  const history: HistoryRecord[] = []

  const seededLabels = (kind: Kind, i: number): string[] => {
    const hash = mix(key, i, 30)
    const unread = hash % 3 === 0 ? ['UNREAD'] : []
    const user = userLabels.length > 0 && hash % 7 === 1 ? [userLabels[hash % userLabels.length]?.id ?? 'Label_1'] : []
    if (kind === 'inbox')
      return ['INBOX', ...unread, pick(['CATEGORY_PERSONAL', 'IMPORTANT', 'STARRED'], hash >>> 5), ...user]
    if (kind === 'archived') return [...unread, ...user]
    return kind === 'spam' || kind === 'trash' ? [kind.toUpperCase(), ...unread] : [kind.toUpperCase()]
  }

  const stateOf = (i: number): GmailState => {
    const stored = changed.get(i)
    if (stored) return stored
    const labels = seededLabels(kindOf(key, i, share), i)
    const thread = Math.max(0, i - (mix(key, i, 31) % 3))
    const historyId = startId - BigInt(4 * (spec.n - i)) + BigInt(mix(key, i, 32) % 3)
    const everEvent = isGmailEvent(labels)
    return { labels, internalMs: seededTimeMs(key, i), addedMs: null, historyId, everEvent, deleted: false, thread }
  }

  const idOf = (i: number) =>
    `19${scramble(key, i).toString(16).padStart(8, '0')}${(key & 0xffffff).toString(16).padStart(6, '0')}`

  const indexOf = (id: string): number | null => {
    if (!/^19[0-9a-f]{14}$/.test(id) || Number.parseInt(id.slice(10), 16) !== (key & 0xffffff)) return null
    const index = unscramble(key, Number.parseInt(id.slice(2, 10), 16))
    return index < count ? index : null
  }

  /** The mail if it exists and is not deleted. */
  const find = (id: string): { index: number; state: GmailState } | null => {
    const index = indexOf(id)
    if (index === null) return null
    const state = stateOf(index)
    return state.deleted ? null : { index, state }
  }

  const record = (
    index: number,
    type: HistoryRecord['type'],
    changedLabels: readonly string[],
    labels: readonly string[],
  ) => {
    currentId += BigInt(1 + (mix(key, history.length, 33) % 40))
    history.push({ id: currentId, atMs: clock.now(), index, type, changed: changedLabels, labels })
    return currentId
  }

  const add = (labels: readonly string[], overrides: Overrides): number => {
    const index = count++
    const atMs = clock.now()
    const internalMs = overrides.receivedMs ?? atMs
    const historyId = record(index, 'messageAdded', [], labels)
    const everEvent = isGmailEvent(labels)
    changed.set(index, {
      labels,
      internalMs,
      addedMs: atMs,
      historyId,
      everEvent,
      deleted: false,
      thread: index,
      overrides,
    })
    return index
  }

  const relabel = (index: number, plus: readonly string[], minus: readonly string[]): void => {
    let state = stateOf(index)
    const added = plus.filter((label) => !state.labels.includes(label))
    const removed = minus.filter((label) => state.labels.includes(label))
    for (const [type, list] of [
      ['labelAdded', added],
      ['labelRemoved', removed],
    ] as const) {
      if (list.length === 0) continue
      const labels =
        type === 'labelAdded' ? [...state.labels, ...list] : state.labels.filter((label) => !list.includes(label))
      const historyId = record(index, type, list, labels)
      state = { ...state, labels, historyId }
    }
    changed.set(index, { ...state, everEvent: state.everEvent || isGmailEvent(state.labels) })
  }

  const remove = (index: number): void => {
    const state = stateOf(index)
    record(index, 'messageDeleted', [], state.labels)
    changed.set(index, { ...state, deleted: true })
    deleted++
  }

  const kindNow = (labels: readonly string[]): Kind => {
    for (const kind of ['sent', 'draft', 'spam', 'trash', 'chat'] as const)
      if (labels.includes(kind.toUpperCase())) return kind
    return 'inbox'
  }

  return {
    user: spec.user,
    provider: 'google' as const,
    address,
    key,
    userLabels,
    idOf,
    indexOf,
    find,
    stateOf,
    add,
    relabel,
    remove,
    live: () => count - deleted,
    historyId: () => currentId,
    contentOf: (index: number, state: GmailState): Content =>
      contentOf(source, index, state.overrides ? kindNow(state.labels) : kindOf(key, index, share), state.overrides),

    /** Live mails, newest first, from index `from` downwards. */
    *newestFirst(from = count - 1): Generator<{ index: number; state: GmailState }> {
      for (let index = from; index >= 0; index--) {
        const state = stateOf(index)
        if (!state.deleted) yield { index, state }
      }
    },

    /** Records after `start` (exclusive), or null when that is older than what is kept. */
    historySince: (start: bigint): readonly HistoryRecord[] | null => {
      while (history[0] && history[0].atMs < clock.now() - HISTORY_LIFE_MS) floorId = history.shift()?.id ?? floorId
      if (start < floorId || start > currentId) return null
      let low = 0
      for (let high = history.length; low < high; ) {
        const middle = (low + high) >>> 1
        if ((history[middle]?.id ?? 0n) > start) high = middle
        else low = middle + 1
      }
      return history.slice(low)
    },

    /** Every history id given out so far is from now on too old. */
    expireHistory: (): void => {
      currentId += 7n
      floorId = currentId
    },

    mutate: (action: Mutation): string => mutateGmail({ find, idOf, add, relabel, remove, userLabels }, action),

    truth: (): Truth => {
      const truth: Truth = { must: [], mustNot: [] }
      for (let i = 0; i < count; i++) {
        const state = stateOf(i)
        if (!state.everEvent) truth.mustNot.push(idOf(i))
        else if (!state.deleted && isGmailEvent(state.labels)) truth.must.push(idOf(i))
      }
      return truth
    },
  }
}

type Hands = Pick<GmailMailbox, 'find' | 'idOf' | 'add' | 'relabel' | 'remove' | 'userLabels'>

function mutateGmail(box: Hands, action: Mutation): string {
  const indexOfLive = (id: string): number => {
    const hit = box.find(id)
    if (!hit) throw new Error(`simulator: no mail ${id}`)
    return hit.index
  }
  switch (action.type) {
    case 'deliver':
      return box.idOf(box.add(action.labels ?? ['INBOX', 'UNREAD'], action))
    case 'draftSave':
      // Each save of a draft is a new message id; the old one is gone.
      if (action.id) box.remove(indexOfLive(action.id))
      return box.idOf(box.add(['DRAFT'], action))
    case 'send':
      if (action.id) box.remove(indexOfLive(action.id))
      return box.idOf(box.add(['SENT'], action))
    case 'createFolder':
    case 'deleteFolder':
      throw new Error('simulator: Gmail has labels, no folders')
    case 'delete':
      box.remove(indexOfLive(action.id))
      return action.id
    case 'label':
      box.relabel(indexOfLive(action.id), action.add ?? [], action.remove ?? [])
      return action.id
    case 'markRead':
      box.relabel(
        indexOfLive(action.id),
        action.isRead === false ? ['UNREAD'] : [],
        action.isRead === false ? [] : ['UNREAD'],
      )
      return action.id
    case 'trash':
      box.relabel(indexOfLive(action.id), ['TRASH'], ['INBOX'])
      return action.id
    case 'unspam':
      box.relabel(indexOfLive(action.id), ['INBOX'], ['SPAM'])
      return action.id
    case 'move': {
      const label = box.userLabels.find(({ name }) => name === action.to)?.id ?? action.to
      box.relabel(
        indexOfLive(action.id),
        [label],
        ['INBOX', 'SPAM', 'TRASH'].filter((one) => one !== label),
      )
      return action.id
    }
  }
}
