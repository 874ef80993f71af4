/** Owns what the outside world may do to a Gmail mailbox. Refuses to answer requests. */
import type { Mutation, Overrides } from './types.ts'

interface Hands {
  userLabels: readonly { id: string; name: string }[]
  idOf: (index: number) => string
  find: (id: string) => { index: number } | null
  add: (labels: readonly string[], overrides: Overrides) => number
  relabel: (index: number, plus: readonly string[], minus: readonly string[]) => void
  remove: (index: number) => void
}

function indexOfLive(box: Hands, id: string): number {
  const hit = box.find(id)
  if (!hit) throw new Error(`simulator: no mail ${id}`)
  return hit.index
}

/** Answers the id of the mail afterwards. */
export function mutateGmail(box: Hands, action: Mutation): string {
  switch (action.type) {
    case 'deliver':
      return box.idOf(box.add(action.labels ?? ['INBOX', 'UNREAD'], action))
    case 'draftSave':
    case 'send':
      // Each save of a draft, and its sending, is a new message id; the old one is gone.
      if (action.id) box.remove(indexOfLive(box, action.id))
      return box.idOf(box.add([action.type === 'send' ? 'SENT' : 'DRAFT'], action))
    case 'createFolder':
    case 'deleteFolder':
      throw new Error('simulator: Gmail has labels, no folders')
    default:
      changeOne(box, indexOfLive(box, action.id), action)
      return action.id
  }
}

type OneMail = Extract<Mutation, { type: 'label' | 'markRead' | 'trash' | 'unspam' | 'move' | 'delete' }>

/** Labels to add and to remove. */
function plan(box: Hands, action: Exclude<OneMail, { type: 'delete' }>): [string[], string[]] {
  switch (action.type) {
    case 'label':
      return [[...(action.add ?? [])], [...(action.remove ?? [])]]
    case 'markRead':
      return action.isRead === false ? [['UNREAD'], []] : [[], ['UNREAD']]
    case 'trash':
      return [['TRASH'], ['INBOX']]
    case 'unspam':
      return [['INBOX'], ['SPAM']]
    case 'move': {
      const label = box.userLabels.find(({ name }) => name === action.to)?.id ?? action.to
      return [[label], ['INBOX', 'SPAM', 'TRASH'].filter((one) => one !== label)]
    }
  }
}

function changeOne(box: Hands, index: number, action: OneMail): void {
  if (action.type === 'delete') box.remove(index)
  else box.relabel(index, ...plan(box, action))
}
