/**
 * The Gmail adapter on a Gmail by other people (`emulate`), which neither we nor our simulator wrote. It has no getProfile:
 * a small proxy answers that from watch(). Its page tokens are offsets and its history ids have 21 digits.
 */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { it } from 'node:test'
import { createEmulator } from 'emulate'
import { type EmailReceived, eventId } from '#shared/event.ts'
import { createHttp } from '../../services/mail/base/http.ts'
import { createGmail } from '../../services/mail/provider/gmail/adapter.ts'
import { eventOf, storeNew } from '../../services/mail/store/messages.ts'
import { ACCOUNT, EPOCH, storeBox } from '../mail/store/support.ts'
import { startSimulator } from '../simulator/simulator.ts'
import { freePort } from '../support/free-port.ts'
import { createDriver } from './page-driver.ts'
import { insertBody, RAW_MAILS } from './raw-mails.ts'

const EMAIL = 'ada@example.com'
const API = '/gmail/v1/users/me'
const AUTH = { authorization: 'Bearer any', 'content-type': 'application/json' }

/** Forwards everything but the profile. */
async function profileProxy(target: () => string) {
  const server = createServer(async (request, response) => {
    if (request.url?.startsWith(`${API}/profile`)) {
      const body = JSON.stringify({ topicName: 'projects/p/topics/t' })
      const watch = await fetch(`${target()}${API}/watch`, { method: 'POST', headers: AUTH, body })
      const { historyId } = (await watch.json()) as { historyId: string }
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ emailAddress: EMAIL, historyId }))
      return
    }
    const answer = await fetch(`${target()}${request.url}`, { headers: AUTH })
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' })
    response.end(Buffer.from(await answer.arrayBuffer()))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

const startEmulator = async (messages: object[]) =>
  createEmulator({
    service: 'google',
    port: await freePort(),
    seed: { google: { users: [{ email: EMAIL, name: 'Ada' }], messages } },
  })

const LABELS = [['INBOX', 'UNREAD'], ['SENT'], ['INBOX'], ['SPAM'], ['DRAFT'], ['Receipts'], ['TRASH']]
const isEvent = (labels: readonly string[]) => !labels.some((label) => ['SPAM', 'DRAFT', 'TRASH'].includes(label))

/** What one user's stream would carry after a backfill of the mailbox at `baseUrl`. */
async function eventsOf(baseUrl: string, accessToken: string): Promise<EmailReceived[]> {
  await using http = createHttp()
  await using box = storeBox()
  const driver = createDriver(() => createGmail({ baseUrl, getUnits: 20, http }), accessToken)
  await driver.run()
  await driver.poll()
  box.store.adopt(ACCOUNT.userId, EPOCH)
  box.store.commit(ACCOUNT.userId, EPOCH, (tx) => storeNew(tx, ACCOUNT, driver.emitted, 0))
  const idOf = (id: string): string => eventId(ACCOUNT.userId, 'GOOGLE', ACCOUNT.inboxId, id)
  return box.store.read(ACCOUNT.userId, (reader) =>
    driver.emitted.map(({ id }) => eventOf(reader, idOf(id)) ?? assert.fail(`no event of ${id}`)),
  )
}

/** Ids are each Gmail's own; so is the time of receipt, and emulate unfolds header lines. Everything else must be equal. */
function comparable({ event_id, provider_message_id, provider_thread_id, msg_date, ...event }: EmailReceived): object {
  const unfolded = Object.entries(event.headers).map(([name, value]) => [name, value.replace(/\r\n[ \t]+/g, ' ')])
  return { ...event, headers: Object.fromEntries(unfolded) }
}
const byMessageId = (events: EmailReceived[]): object[] =>
  events
    .toSorted((a, b) => (a.headers['Message-ID'] ?? '').localeCompare(b.headers['Message-ID'] ?? ''))
    .map(comparable)

it('makes the same events of the same mails on the simulator and on an independent emulator', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ user: 'ada', provider: 'google', n: 0 })
  const emulator = await startEmulator([])
  try {
    for (const [at, mail] of RAW_MAILS.entries())
      for (const [url, token] of [
        [simulator.url, who.access_token],
        [emulator.url, 'any'],
      ]) {
        const headers = { ...AUTH, authorization: `Bearer ${token}` }
        const body = JSON.stringify(insertBody(mail, at))
        assert.ok((await fetch(`${url}${API}/messages`, { method: 'POST', headers, body })).ok)
      }
    await using proxy = await profileProxy(() => emulator.url)
    const ours = byMessageId(await eventsOf(simulator.env.MAIL_GMAIL_BASE_URL, who.access_token))
    const theirs = byMessageId(await eventsOf(proxy.url, 'any'))
    assert.equal(theirs.length, RAW_MAILS.filter(({ labels }) => isEvent(labels)).length)
    assert.deepEqual(ours, theirs)
  } finally {
    await emulator.close()
  }
})

it('backfills an independent emulator exactly, while mail comes and goes between the pages', async () => {
  const seeded = Array.from({ length: 1_300 }, (_, i) => ({
    id: `m${String(i).padStart(5, '0')}`,
    user_email: EMAIL,
    from: `Person ${i} <p${i}@example.org>`,
    to: EMAIL,
    subject: `Mail ${i}`,
    body_text: 'Hello',
    label_ids: LABELS[i % LABELS.length] ?? [],
  }))
  const emulator = await startEmulator(seeded)
  try {
    await using proxy = await profileProxy(() => emulator.url)
    await using http = createHttp()
    const driver = createDriver(() => createGmail({ baseUrl: proxy.url, getUnits: 20, http }), 'any')
    const expected = new Set(seeded.filter(({ label_ids }) => isEvent(label_ids)).map(({ id }) => id))
    const deleted = new Set<string>()
    const added = new Set<string>()
    const stays = () => [...expected].filter((id) => !deleted.has(id))
    let turn = 0
    let lostByOnePass: number | undefined
    await driver.run(async (lane) => {
      if (lane !== 'enum') return
      const cursor = JSON.parse(driver.state().lanes.enum?.cursor ?? '{"pass":1}') as { pass: number }
      if (cursor.pass === 2) lostByOnePass ??= stays().filter((id) => !driver.state().queue.includes(id)).length
      if (++turn > 3) return
      for (const { id } of seeded.slice(-40 * turn, -40 * turn + 30)) {
        const gone = await fetch(`${emulator.url}${API}/messages/${id}`, { method: 'DELETE', headers: AUTH })
        assert.ok(gone.ok)
        deleted.add(id)
      }
      const raw = Buffer.from('From: new@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHi').toString(
        'base64url',
      )
      const body = JSON.stringify({ raw, labelIds: ['INBOX'] })
      const answer = await fetch(`${emulator.url}${API}/messages`, { method: 'POST', headers: AUTH, body })
      added.add(((await answer.json()) as { id: string }).id)
    })
    await driver.poll()

    const ids = driver.emitted.map(({ id }) => id)
    assert.equal(new Set(ids).size, ids.length)
    // The control: what listing the pages only once would have lost here.
    assert.ok((lostByOnePass ?? 0) > 0, `${lostByOnePass}`)
    assert.deepEqual(
      [...stays(), ...added].filter((id) => !ids.includes(id)),
      [],
      'lost',
    )
    assert.deepEqual(
      ids.filter((id) => !expected.has(id) && !added.has(id)),
      [],
      'not to be emitted',
    )
    const [one = ''] = added
    const fresh = driver.emitted.find(({ id }) => id === one)
    assert.equal(fresh?.subject, 'Grüße')
    assert.equal(fresh?.sender, 'new@example.org')
    assert.ok((driver.state().syncCursor ?? '').length > 20)
  } finally {
    await emulator.close()
  }
})
