/**
 * Graph as far as the service asks it, from prebuilt texts. All mail lies in the inbox. Ids are as long as Graph's and in
 * no order, which is the worst that an index can meet.
 */
import { createGraphMailbox } from '../../simulator/graph-mailbox.ts'
import { graphMessage, selected } from '../../simulator/graph-message.ts'
import { hashText, mix, scramble, unscramble } from '../../simulator/random.ts'
import { type Answer, cutAt, json, type Mailbox, SHAPES, timeMs } from './mailbox.ts'

const SELECT =
  'id,conversationId,internetMessageId,subject,from,sender,toRecipients,ccRecipients,bccRecipients,replyTo,' +
  'receivedDateTime,sentDateTime,bodyPreview,isRead,isDraft,parentFolderId,categories'
const FOLDERS = ['inbox', 'drafts', 'outbox', 'junkemail', 'deleteditems'] as const
const ROOT = 'AQMkADAroot='
const PAGE_DEFAULT = 10

/** What the ids of one mailbox have in common. */
const ID_HEAD = `AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A${'Gk3Qp9Zs'.repeat(10)}`
const KEY = 0x5eed

export function graphId(index: number): string {
  const bytes = Buffer.alloc(24)
  bytes.writeUInt32BE(scramble(KEY, index), 0)
  for (let at = 4; at < 24; at += 4) bytes.writeUInt32BE(mix(KEY, index, at), at)
  return `${ID_HEAD}${bytes.toString('base64url')}=`
}
const indexOf = (id: string): number =>
  unscramble(KEY, Buffer.from(id.slice(ID_HEAD.length), 'base64url').readUInt32BE(0))

const folderId = ({ user }: Mailbox, name: string): string => `AQMkADA${name}.${hashText(user).toString(36)}=`

/** Before the id, up to the conversation, the date and the folder, in the order of the text, and after it. */
let made: string[][] | undefined
function shapes(): string[][] {
  made ??= makeShapes()
  return made
}

const MARK = '@@'
function makeShapes(): string[][] {
  const share = { sent: 0, draft: 0, spam: 0, trash: 0, chat: 0, archived: 0, hugeTo: 0, eventMessage: 0 }
  const clock = { now: Date.now, advance: () => undefined }
  const spec = { user: 'bench', provider: 'microsoft', n: SHAPES, folders: [], mix: share } as const
  const box = createGraphMailbox(spec, clock)
  return Array.from({ length: SHAPES }, (_, index) => {
    const whole = selected(graphMessage(box, index, box.stateOf(index), true), SELECT)
    const { id: _id, receivedDateTime: _date, parentFolderId: _folder, ...rest } = whole
    const text = JSON.stringify({ id: MARK, receivedDateTime: MARK, parentFolderId: MARK, ...rest })
    return cutAt(text, /@@/, 4)
  })
}

function messageText(box: Mailbox, index: number): string {
  const [a, b, c, d] = shapes()[index % SHAPES] ?? []
  const received = new Date(timeMs(index)).toISOString()
  return `${a}${graphId(index)}${b}${received.slice(0, 19)}Z${c}${folderId(box, 'inbox')}${d}`
}

const notFound = (): Answer =>
  json({ error: { code: 'ErrorItemNotFound', message: 'The specified object was not found in the store.' } }, 404)

function get(box: Mailbox, id: string): Answer {
  const index = id.startsWith(ID_HEAD) ? indexOf(id) : -1
  return index >= 0 && index < box.mails ? json(messageText(box, index)) : notFound()
}

function folder(box: Mailbox, name: string) {
  const totalItemCount = name === 'inbox' ? box.mails : 0
  return { id: folderId(box, name), displayName: name, parentFolderId: ROOT, childFolderCount: 0, totalItemCount }
}

const page = (link: string, items: string[]): Answer => json(`{${link},"value":[${items.join(',')}]}`)
const linkText = (kind: 'nextLink' | 'deltaLink', url: string): string => `"@odata.${kind}":${JSON.stringify(url)}`

/** Newest first. A link carries the index of the first mail of its page; the last page leads to one without changes. */
function delta(box: Mailbox, url: URL, prefer: string): Answer {
  const self = `${url.origin}${url.pathname}`
  const end = linkText('deltaLink', `${self}?$deltatoken=end`)
  if (url.searchParams.has('$deltatoken')) return page(end, [])
  if (!url.pathname.includes(encodeURIComponent(folderId(box, 'inbox')))) return page(end, [])
  const from = Number(url.searchParams.get('$skiptoken') ?? box.mails - 1)
  const size = Number(/odata\.maxpagesize=(\d+)/.exec(prefer)?.[1] ?? PAGE_DEFAULT)
  const items: string[] = []
  for (let index = from; index >= 0 && items.length < size; index--) items.push(messageText(box, index))
  const next = from - items.length
  return page(next >= 0 ? linkText('nextLink', `${self}?$skiptoken=${next}`) : end, items)
}

/** @returns the name of the route, and the answer */
export function answerGraph(box: Mailbox, url: URL, prefer: string): { route: string; answer: Answer } | null {
  const path = url.pathname.slice('/v1.0/me'.length)
  if (path === '') return { route: 'graph.me', answer: json({ mail: `${box.user}@outlook.example` }) }
  if (path.endsWith('/messages/delta')) return { route: 'graph.messages.delta', answer: delta(box, url, prefer) }
  if (path === '/mailFolders/delta') {
    const value = url.searchParams.has('$deltatoken') ? [] : FOLDERS.map((name) => JSON.stringify(folder(box, name)))
    const link = linkText('deltaLink', `${url.origin}${url.pathname}?$deltatoken=end`)
    return { route: 'graph.mailFolders.delta', answer: page(link, value) }
  }
  const [, kind, id = ''] = /^\/(mailFolders|messages)\/([^/]+)$/.exec(path) ?? []
  const name = decodeURIComponent(id)
  if (kind === 'messages') return { route: 'graph.messages.get', answer: get(box, name) }
  if (kind !== 'mailFolders') return null
  const known = FOLDERS.find((one) => one === name)
  const answer = known === undefined ? notFound() : json(folder(box, known))
  return { route: 'graph.mailFolders.get', answer }
}
