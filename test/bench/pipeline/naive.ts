/**
 * The pipeline as it is written at first: the vendor's client library, one message after another, statements built by
 * drizzle each time, a transaction for each mail, a publish that is waited for before the next mail is asked for.
 */
import { join } from 'node:path'
import { Client, HTTPMessageHandler, type Middleware } from '@microsoft/microsoft-graph-client'
import { gmail } from 'googleapis'
import { EVENT_TYPE, eventSubject } from '#shared/subjects.ts'
import type { MessageMeta } from '../../../services/mail/base/model.ts'
import { gmailMeta, HEADERS } from '../../../services/mail/provider/gmail/normalize.ts'
import type { GmailMessage } from '../../../services/mail/provider/gmail/schemas.ts'
import { graphMeta } from '../../../services/mail/provider/outlook/normalize.ts'
import { eq } from '../../../services/mail/store/drizzle.ts'
import { queryBuilder } from '../../../services/mail/store/query-builder.ts'
import { eventOf, type Ground, type Job } from './job.ts'
import { events, openTables, outbox } from './tables.ts'

async function* gmailMails(url: string, token: string): AsyncGenerator<MessageMeta> {
  const { users } = gmail({ version: 'v1', rootUrl: url, headers: { authorization: `Bearer ${token}` } })
  let pageToken: string | undefined
  do {
    const { data } = await users.messages.list({ userId: 'me', ...(pageToken !== undefined && { pageToken }) })
    for (const { id } of data.messages ?? []) {
      const params = { userId: 'me', id: id ?? '', format: 'metadata', metadataHeaders: [...HEADERS] }
      yield gmailMeta((await users.messages.get(params)).data as GmailMessage)
    }
    pageToken = data.nextPageToken ?? undefined
  } while (pageToken !== undefined)
}

function graphClient(url: string, token: string): Client {
  let next: Middleware | undefined
  const authorize: Middleware = {
    setNext(middleware) {
      next = middleware
    },
    async execute(context) {
      context.options = { ...context.options, headers: { authorization: `Bearer ${token}` } }
      await next?.execute(context)
    },
  }
  return Client.initWithMiddleware({ baseUrl: url, middleware: [authorize, new HTTPMessageHandler()] })
}

async function* graphMails(url: string, token: string): AsyncGenerator<MessageMeta> {
  const client = graphClient(url, token)
  const { id: inbox } = await client.api('/me/mailFolders/inbox').get()
  let link: string | undefined = `/me/mailFolders/${encodeURIComponent(inbox)}/messages/delta`
  while (link !== undefined) {
    const page: { value: { id: string }[]; '@odata.nextLink'?: string } = await client.api(link).get()
    for (const { id } of page.value)
      yield graphMeta(await client.api(`/me/messages/${encodeURIComponent(id)}`).get(), 'INBOX')
    // The client takes no link for one that is not https.
    link = page['@odata.nextLink']?.slice(`${url}/v1.0`.length)
  }
}

/** The mails of a mailbox, newest first. */
export const naiveMails = ({ provider, token }: Job, url: string): AsyncGenerator<MessageMeta> =>
  provider === 'google' ? gmailMails(url, token) : graphMails(url, token)

/** Fetches the whole mailbox. @returns how many mails it has stored and published */
export async function syncNaive({ js, url, dir }: Ground, job: Job): Promise<number> {
  const sqlite = openTables(join(dir, `${job.user}.db`))
  const db = queryBuilder(sqlite)
  const subject = eventSubject(job.user)
  let count = 0
  for await (const mail of naiveMails(job, url)) {
    const ts = Math.floor(Date.now() / 1_000)
    const event = eventOf(job, mail, ts)
    const payload = Buffer.from(JSON.stringify(event))
    const id = db.transaction((tx) => {
      tx.insert(events)
        .values({
          eventId: event.event_id,
          ts,
          msgDate: event.msg_date,
          provider: event.provider,
          inboxId: event.inbox_id,
          userId: event.user_id,
          providerMessageId: event.provider_message_id,
          providerThreadId: event.provider_thread_id,
          subject: event.subject,
          sender: event.sender,
          toAddrs: JSON.stringify(event.to_addrs),
          ccAddrs: JSON.stringify(event.cc_addrs),
          bccAddrs: JSON.stringify(event.bcc_addrs),
          snippet: event.snippet,
          headersJson: JSON.stringify(event.headers),
          labelsJson: JSON.stringify(event.labels),
        })
        .run()
      const row = { ts, subject, eventType: EVENT_TYPE, payload, msgId: event.event_id }
      return tx.insert(outbox).values(row).run().lastInsertRowid
    })
    const { seq } = await js.publish(subject, payload, { msgID: event.event_id })
    db.update(outbox)
      .set({ publishedAt: ts, streamSeq: seq })
      .where(eq(outbox.id, Number(id)))
      .run()
    count++
  }
  sqlite.close()
  return count
}
