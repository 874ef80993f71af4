/** Gmail as far as the service asks it, from prebuilt texts. Ids are hexadecimal and grow with time, as Gmail's do. */
import { createGmailMailbox } from '../../simulator/gmail-mailbox.ts'
import { gmailMessage } from '../../simulator/gmail-message.ts'
import { type Answer, cutAt, json, type Mailbox, SHAPES, timeMs } from './mailbox.ts'

const WANTED = [
  'From',
  'To',
  'Cc',
  'Bcc',
  'Reply-To',
  'Subject',
  'Date',
  'Message-ID',
  'In-Reply-To',
  'References',
  'List-Id',
]
const ID_STEP = 0x1000
const ID_FIRST = 0x1_0000_0000
const HISTORY_ID = '4711'
const PAGE_MAX = 500

export const gmailId = (index: number): string => `19${(ID_FIRST + index * ID_STEP).toString(16).padStart(14, '0')}`
const indexOf = (id: string): number => (Number.parseInt(id.slice(2), 16) - ID_FIRST) / ID_STEP

const MARK = '@@'
/** Before the id, between the ids of mail and thread, up to the date, and after it. */
type Shape = readonly string[]

/** Made at the first use: a process that serves Graph only has none. */
let made: Shape[] | undefined
function shapes(): Shape[] {
  made ??= makeShapes()
  return made
}

function makeShapes(): Shape[] {
  const mix = { sent: 0, draft: 0, spam: 0, trash: 0, chat: 0, hugeTo: 0 }
  const clock = { now: Date.now, advance: () => undefined }
  const box = createGmailMailbox({ user: 'bench', provider: 'google', n: SHAPES, mix }, clock)
  return Array.from({ length: SHAPES }, (_, index) => {
    const { labelIds, snippet, payload } = gmailMessage(box, index, box.stateOf(index), 'metadata', WANTED)
    const fields = { id: MARK, threadId: MARK, labelIds, snippet, payload: { headers: payload?.headers } }
    return cutAt(JSON.stringify({ ...fields, internalDate: MARK }), /@@/, 4)
  })
}

/** Mail i as `messages.get` answers it. */
export function gmailText(index: number): string {
  const [a, b, c, d] = shapes()[index % SHAPES] ?? []
  const id = gmailId(index)
  return `${a}${id}${b}${id}${c}${timeMs(index)}${d}`
}

const notFound = (): Answer => {
  const text = 'Requested entity was not found.'
  const errors = [{ message: text, domain: 'global', reason: 'notFound' }]
  return json({ error: { code: 404, message: text, errors, status: 'NOT_FOUND' } }, 404)
}

function get(box: Mailbox, id: string): Answer {
  const index = indexOf(id)
  return Number.isInteger(index) && index >= 0 && index < box.mails ? json(gmailText(index)) : notFound()
}

/** Newest first; a page token is the index of its first mail. */
function list(box: Mailbox, query: URLSearchParams): Answer {
  // Drafts and chats are asked for by their label.
  const mails = query.has('labelIds') ? 0 : box.mails
  const from = Number(query.get('pageToken') ?? mails - 1)
  const size = Math.min(PAGE_MAX, Number(query.get('maxResults') ?? 100))
  const messages: { id: string; threadId: string }[] = []
  for (let index = from; index >= 0 && messages.length < size; index--)
    messages.push({ id: gmailId(index), threadId: gmailId(index) })
  const next = from - messages.length
  return json({
    ...(messages.length > 0 && { messages }),
    ...(next >= 0 && { nextPageToken: String(next) }),
    resultSizeEstimate: Math.min(201, mails),
  })
}

const ROOT = '/gmail/v1/users/me/'
const GET = `${ROOT}messages/`

/** @returns the name of the route, and the answer */
export function answerGmail(box: Mailbox, target: string, body: string): { route: string; answer: Answer } | null {
  if (target.startsWith('/batch/gmail/v1')) return { route: 'gmail.batch', answer: batch(box, body) }
  const cut = target.indexOf('?')
  const path = cut === -1 ? target : target.slice(0, cut)
  if (path.startsWith(GET)) return { route: 'gmail.messages.get', answer: get(box, path.slice(GET.length)) }
  const query = new URLSearchParams(cut === -1 ? '' : target.slice(cut))
  switch (path.slice(ROOT.length)) {
    case 'messages':
      return { route: 'gmail.messages.list', answer: list(box, query) }
    case 'history':
      return { route: 'gmail.history.list', answer: json({ historyId: HISTORY_ID }) }
    case 'profile': {
      const profile = { emailAddress: `${box.user}@gmail.example`, messagesTotal: box.mails, historyId: HISTORY_ID }
      return { route: 'gmail.profile', answer: json(profile) }
    }
    default:
      return null
  }
}

const BOUNDARY = 'batch_bench'
const REASONS: Record<number, string> = { 200: 'OK', 404: 'Not Found' }

/** The parts of a multipart batch, answered in their order under `response-<Content-ID>`. */
function batch(box: Mailbox, body: string): Answer {
  const parts: string[] = []
  for (const [, contentId = '', target = ''] of body.matchAll(
    /content-id:\s*<?([^>\r\n]+)>?[\s\S]*?\r?\n\r?\nGET (\S+)/gi,
  )) {
    const { status, type, body: text } = answerGmail(box, target, '')?.answer ?? notFound()
    parts.push(
      `--${BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <response-${contentId}>\r\n\r\n` +
        `HTTP/1.1 ${status} ${REASONS[status]}\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}\r\n`,
    )
  }
  return { status: 200, type: `multipart/mixed; boundary=${BOUNDARY}`, body: `${parts.join('')}--${BOUNDARY}--\r\n` }
}
