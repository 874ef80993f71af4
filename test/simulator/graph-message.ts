/** Owns the Graph JSON of mails and folders, typed by Microsoft's own typings. Refuses to know requests. */
import type { EventMessage, MailFolder, Message, Recipient } from '@microsoft/microsoft-graph-types'
import type { Folder } from './graph-folders.ts'
import type { GraphMailbox } from './graph-mailbox.ts'
import type { GraphState } from './graph-seed.ts'
import { headersOf } from './headers.ts'
import type { Person } from './types.ts'

/** What OData adds to every item. */
interface Annotations {
  '@odata.type'?: string
  '@odata.etag'?: string
  '@removed'?: { reason: 'deleted' | 'changed' }
}

const seconds = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`
const recipient = ({ name, address }: Person): Recipient => ({ emailAddress: { name: name || address, address } })

function etag(state: GraphState, index: number): string {
  return `W/"${Buffer.from(`${index}.${state.version}`).toString('base64')}"`
}

/** The whole mail; the caller selects from it. */
export function graphMessage(
  box: GraphMailbox,
  index: number,
  state: GraphState,
  immutable: boolean,
): Message & Annotations {
  const content = box.contentOf(index, state)
  const sentMs = state.receivedMs - 2000
  const message = {
    id: box.idOf(index, state.moves, immutable),
    createdDateTime: seconds(state.receivedMs),
    lastModifiedDateTime: seconds(state.receivedMs + state.version * 1000),
    changeKey: Buffer.from(`${index}.${state.version}`).toString('base64'),
    categories: [...state.categories],
    receivedDateTime: seconds(state.receivedMs),
    sentDateTime: content.date === 'good' ? seconds(sentMs) : null,
    hasAttachments: content.style % 9 === 0,
    internetMessageId: content.messageId,
    subject: content.subject || (content.style % 2 ? null : ''),
    bodyPreview: content.preview,
    importance: content.style % 13 === 0 ? 'high' : 'normal',
    parentFolderId: box.folders.at(state.folder)?.id ?? null,
    conversationId: `AAQkAD${(content.style >>> 4).toString(36)}=`,
    isDeliveryReceiptRequested: state.isDraft ? false : null,
    isReadReceiptRequested: false,
    isRead: state.isRead,
    isDraft: state.isDraft,
    webLink: `https://outlook.example/owa/?ItemID=${index}`,
    inferenceClassification: 'focused',
    body: { contentType: 'text', content: content.preview },
    sender: state.isDraft ? null : recipient(content.from),
    from: state.isDraft ? null : recipient(content.from),
    toRecipients: content.to.map(recipient),
    ccRecipients: content.cc.map(recipient),
    bccRecipients: content.bcc.map(recipient),
    replyTo: content.style % 7 === 0 ? [recipient(content.from)] : [],
    flag: { flagStatus: 'notFlagged' },
    internetMessageHeaders: headersOf(content, sentMs),
  } satisfies Message
  if (!content.invite) return { '@odata.etag': etag(state, index), ...message }
  const invite = {
    meetingMessageType: 'meetingRequest',
    type: 'singleInstance',
    isAllDay: false,
  } satisfies EventMessage
  return { '@odata.type': '#microsoft.graph.eventMessage', '@odata.etag': etag(state, index), ...message, ...invite }
}

const INVITE_EXTRAS = ['meetingMessageType', 'type', 'isAllDay']
const ON_REQUEST = new Set(['internetMessageHeaders'])

/** `$select`: the chosen properties, the id and the annotations; an invite keeps its own properties. */
export function selected<T extends object>(item: T, select: string | null): Partial<T> {
  const names = select ? new Set([...select.split(',').map((name) => name.trim()), 'id', ...INVITE_EXTRAS]) : null
  const kept = Object.entries(item).filter(
    ([name]) => name.startsWith('@') || (names ? names.has(name) : !ON_REQUEST.has(name)),
  )
  return Object.fromEntries(kept) as Partial<T>
}

/** What an update shows of a mail that the client is expected to know. */
export function partialMessage(full: Message & Annotations, folderChanged: boolean): Partial<Message & Annotations> {
  return selected(full, folderChanged ? 'isRead,categories,parentFolderId' : 'isRead,categories')
}

export function graphFolder(box: GraphMailbox, folder: Folder): MailFolder {
  const children = box.folders.live().filter((one) => one.parent === folder.index).length
  return {
    id: folder.id,
    displayName: folder.displayName,
    parentFolderId: box.folders.parentId(folder),
    childFolderCount: children,
    unreadItemCount: 0,
    totalItemCount: box.totalOf(folder.index),
    isHidden: folder.wellKnown === 'conversationhistory',
  } satisfies MailFolder
}
