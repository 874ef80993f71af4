/**
 * The provider of the benchmarks answers what is asked of it, and all who are compared make the same of it: the adapters of
 * the service, the short pipeline and the naive one.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { createHttp, type Http } from '../../../services/mail/base/http.ts'
import type { MessageMeta } from '../../../services/mail/base/model.ts'
import { createGmail } from '../../../services/mail/provider/gmail/adapter.ts'
import { createOutlook } from '../../../services/mail/provider/outlook/adapter.ts'
import type { MailProvider } from '../../../services/mail/provider/provider.ts'
import { createDriver } from '../../contract/page-driver.ts'
import type { Job } from '../pipeline/job.ts'
import { naiveMails } from '../pipeline/naive.ts'
import { portionsOf } from '../pipeline/sources.ts'
import { tokenOf } from './mailbox.ts'
import { BenchProvider } from './provider.ts'

const NEVER = new AbortController().signal
/** More than a page of ids and than one of whole mails, and full ones of neither. */
const MAILS = 530
const token = tokenOf({ user: 'ada', mails: MAILS })

let provider: BenchProvider
let http: Http
before(async () => {
  provider = await BenchProvider.start(NEVER)
  http = createHttp()
})
after(async () => {
  await http[Symbol.asyncDispose]()
  await provider[Symbol.asyncDispose]()
})

const ADAPTERS: Record<Job['provider'], () => MailProvider> = {
  google: () => createGmail({ baseUrl: provider.url, getUnits: 1, http }),
  microsoft: () => createOutlook({ baseUrl: `${provider.url}/v1.0`, http }),
}

const byId = (mails: readonly MessageMeta[]): MessageMeta[] => mails.toSorted((a, b) => (a.id < b.id ? -1 : 1))

for (const name of ['google', 'microsoft'] as const)
  test(`service, short and naive pipeline read the same ${MAILS} mails of ${name}`, async () => {
    const driver = createDriver(ADAPTERS[name], token)
    await driver.run()
    const job: Job = { user: 'ada', provider: name, token }
    const short: MessageMeta[] = []
    for await (const { mails } of portionsOf(job, provider.url)) short.push(...mails)
    const naive: MessageMeta[] = []
    for await (const mail of naiveMails({ ...job, token: tokenOf({ user: 'ada', mails: 40 }) }, provider.url))
      naive.push(mail)

    assert.equal(new Set(driver.emitted.map(({ id }) => id)).size, MAILS)
    assert.deepEqual(byId(short), byId(driver.emitted))
    // The oldest mails are the same in every mailbox.
    const wanted = new Set(naive.map(({ id }) => id))
    assert.equal(wanted.size, 40)
    assert.deepEqual(byId(naive), byId(short.filter(({ id }) => wanted.has(id))))
  })

test('requests are counted, those with another token are refused', async () => {
  const before = (await provider.requests(NEVER))['gmail.profile'] ?? 0
  const ask = (bearer: string) =>
    fetch(`${provider.url}/gmail/v1/users/me/profile`, { headers: { authorization: `Bearer ${bearer}` } })
  assert.deepEqual(await (await ask(token)).json(), {
    ...{ emailAddress: 'ada@gmail.example', messagesTotal: MAILS, historyId: '4711' },
  })
  assert.equal((await ask('another')).status, 401)
  assert.equal((await fetch(`${provider.url}/revoke`, { method: 'POST' })).status, 200)
  assert.equal((await provider.requests(NEVER))['gmail.profile'], before + 1)
})

test('a batch of Gmail answers each of its parts, also one that is not there', async () => {
  const part = (id: string, i: number): string =>
    `--x\r\nContent-Type: application/http\r\nContent-ID: <item-${i}>\r\n\r\nGET /gmail/v1/users/me/messages/${id}?format=metadata HTTP/1.1\r\n\r\n`
  const { messages } = (await (
    await fetch(`${provider.url}/gmail/v1/users/me/messages?maxResults=1`, {
      headers: { authorization: `Bearer ${token}` },
    })
  ).json()) as { messages: { id: string }[] }
  const answer = await fetch(`${provider.url}/batch/gmail/v1`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'multipart/mixed; boundary=x' },
    body: `${part(messages[0]?.id ?? '', 0)}${part('19ffffffffffffff', 1)}--x--\r\n`,
  })
  const text = await answer.text()
  assert.match(answer.headers.get('content-type') ?? '', /^multipart\/mixed; boundary=/)
  assert.match(text, /Content-ID: <response-item-0>\r\n\r\nHTTP\/1\.1 200 OK/)
  assert.match(text, /Content-ID: <response-item-1>\r\n\r\nHTTP\/1\.1 404 Not Found/)
})
