/** Owns what the outside world may do to a Graph mailbox. Refuses to answer requests. */
import type { Folder, FolderTree } from './graph-folders.ts'
import type { GraphState } from './graph-seed.ts'
import type { Mutation, Overrides } from './types.ts'

interface Hands {
  folders: FolderTree
  find: (id: string) => { index: number; state: GraphState } | null
  add: (folder: Folder, isDraft: boolean, overrides: Overrides) => number
  update: (index: number, change: Partial<GraphState>) => void
  move: (index: number, to: Folder, change?: Partial<GraphState>) => void
  remove: (index: number) => void
  keepEvents: (folder: number) => void
  logFolder: (index: number) => number
  truthId: (index: number) => string
}

/** Answers the immutable id of the mail, or the id of the folder. */
export function mutateGraph(box: Hands, action: Mutation): string {
  const live = (id: string): { index: number; state: GraphState } => {
    const hit = box.find(id)
    if (!hit) throw new Error(`simulator: no mail ${id}`)
    return hit
  }
  switch (action.type) {
    case 'deliver':
      return box.truthId(box.add(box.folders.ensure(action.folder ?? 'inbox'), false, action))
    case 'draftSave': {
      if (!action.id) return box.truthId(box.add(box.folders.ensure('drafts'), true, action))
      const { index, state } = live(action.id)
      box.update(index, { overrides: { ...state.overrides, ...action } })
      return box.truthId(index)
    }
    case 'send': {
      const sent = box.folders.ensure('sentitems')
      if (!action.id) return box.truthId(box.add(sent, false, action))
      const { index } = live(action.id)
      box.move(index, sent, { isDraft: false })
      return box.truthId(index)
    }
    case 'delete':
      box.remove(live(action.id).index)
      return action.id
    default:
      return 'id' in action ? changeOne(box, live(action.id), action) : changeFolder(box, action)
  }
}

type OneMail = Extract<Mutation, { type: 'label' | 'markRead' | 'trash' | 'unspam' | 'move' }>
type OneFolder = Extract<Mutation, { type: 'createFolder' | 'deleteFolder' }>

function changeOne(box: Hands, { index, state }: { index: number; state: GraphState }, action: OneMail): string {
  switch (action.type) {
    case 'label': {
      const kept = state.categories.filter((one) => !action.remove?.includes(one))
      box.update(index, { categories: [...kept, ...(action.add ?? [])] })
      break
    }
    case 'markRead':
      box.update(index, { isRead: action.isRead ?? true })
      break
    case 'trash':
      box.move(index, box.folders.ensure('deleteditems'))
      break
    case 'unspam':
      box.move(index, box.folders.ensure('inbox'))
      break
    case 'move':
      box.move(index, box.folders.ensure(action.to))
      break
  }
  return box.truthId(index)
}

/** Deleting a folder moves it, with all that lies in it, below the deleted items, as Outlook does. */
function changeFolder(box: Hands, action: OneFolder): string {
  if (action.type === 'createFolder') {
    return box.folders.ensure(action.name).id
  }
  const folder = box.folders.ensure(action.folder)
  const below = (index: number | null): boolean => {
    if (index === null) return false
    return index === folder.index || below(box.folders.at(index)?.parent ?? null)
  }
  for (const one of box.folders.live()) if (below(one.index)) box.keepEvents(one.index)
  folder.parent = box.folders.ensure('deleteditems').index
  box.logFolder(folder.index)
  return folder.id
}
