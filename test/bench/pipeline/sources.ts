/**
 * Where the hand-written pipeline has its mail from: the same requests as the service makes, over the same transport, and
 * the normalisation of the service, which says what an event is. Answers are believed without a check.
 */
import { Agent, request } from 'undici'
import type { MessageMeta } from '../../../services/mail/base/model.ts'
import { gmailMeta, HEADERS } from '../../../services/mail/provider/gmail/normalize.ts'
import type { GmailMessage } from '../../../services/mail/provider/gmail/schemas.ts'
import { graphMeta } from '../../../services/mail/provider/outlook/normalize.ts'
import type { GraphMessage } from '../../../services/mail/provider/outlook/schemas.ts'
import type { Job } from './job.ts'

/** Some mails, and where to go on after them. */
export type Portion = { mails: MessageMeta[]; cursor: string }

const agent = new Agent({ connections: 4, keepAliveTimeout: 30_000 })
const LIST = 500
const BATCH = 25
const GET_QUERY = new URLSearchParams([
  ['format', 'metadata'],
  ...HEADERS.map((name): [string, string] => ['metadataHeaders', name]),
  ['fields', 'id,threadId,labelIds,snippet,internalDate,payload/headers'],
])
const SELECT =
  'id,conversationId,internetMessageId,subject,from,sender,toRecipients,ccRecipients,bccRecipients,replyTo,' +
  'receivedDateTime,sentDateTime,bodyPreview,isRead,isDraft,parentFolderId,categories'

async function send(url: string, headers: Record<string, string>, body?: string): Promise<string> {
  const method = body === undefined ? 'GET' : 'POST'
  const answer = await request(url, { method, headers, dispatcher: agent, ...(body !== undefined && { body }) })
  const text = await answer.body.text()
  if (answer.statusCode !== 200) throw new Error(`${url}: ${answer.statusCode}`)
  return text
}

/** Ids in pages of 500, messages in multipart batches of 25. */
async function* gmailPortions(url: string, token: string): AsyncGenerator<Portion> {
  const authorization = `Bearer ${token}`
  for (let page: string | undefined = ''; page !== undefined; ) {
    const query = `maxResults=${LIST}${page === '' ? '' : `&pageToken=${page}`}`
    const listed = JSON.parse(await send(`${url}/gmail/v1/users/me/messages?${query}`, { authorization }))
    const ids: string[] = (listed.messages ?? []).map(({ id }: { id: string }) => id)
    for (let at = 0; at < ids.length; at += BATCH) {
      const wanted = ids.slice(at, at + BATCH)
      yield { mails: (await gmailBatch(url, authorization, wanted)).map(gmailMeta), cursor: `${page}.${at}` }
    }
    page = listed.nextPageToken
  }
}

async function gmailBatch(url: string, authorization: string, ids: readonly string[]): Promise<GmailMessage[]> {
  const parts = ids.map(
    (id, i) =>
      `--b\r\nContent-Type: application/http\r\nContent-ID: <${i}>\r\n\r\n` +
      `GET /gmail/v1/users/me/messages/${id}?${GET_QUERY} HTTP/1.1\r\n\r\n`,
  )
  const headers = { authorization, 'content-type': 'multipart/mixed; boundary=b' }
  const text = await send(`${url}/batch/gmail/v1`, headers, `${parts.join('')}--b--\r\n`)
  const boundary = text.slice(0, text.indexOf('\r\n'))
  return text
    .split(boundary)
    .slice(1, -1)
    .map((part) => JSON.parse(part.slice(part.indexOf('\r\n\r\n', part.indexOf('HTTP/1.1')) + 4)))
}

/** Whole mails in delta pages of 100. */
async function* graphPortions(url: string, token: string): AsyncGenerator<Portion> {
  const headers = {
    authorization: `Bearer ${token}`,
    prefer: 'IdType="ImmutableId", odata.maxpagesize=100',
    accept: 'application/json',
  }
  const folders = `${url}/v1.0/me/mailFolders`
  const inbox: string = JSON.parse(await send(`${folders}/inbox?$select=id`, headers)).id
  let link: string | undefined = `${folders}/${encodeURIComponent(inbox)}/messages/delta?$select=${SELECT}`
  while (link !== undefined) {
    const page: { value: GraphMessage[]; '@odata.nextLink'?: string } = JSON.parse(await send(link, headers))
    link = page['@odata.nextLink']
    yield { mails: page.value.map((message) => graphMeta(message, 'INBOX')), cursor: link ?? 'end' }
  }
}

/** The next request is under way while the portion before is worked on; never more than one. */
export async function* portionsOf({ provider, token }: Job, url: string): AsyncGenerator<Portion> {
  const source = provider === 'google' ? gmailPortions(url, token) : graphPortions(url, token)
  for (let next = source.next(); ; ) {
    const { value, done } = await next
    if (done === true) return
    next = source.next()
    yield value
  }
}
