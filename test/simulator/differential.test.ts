/**
 * One script, through the real Gmail client, on the simulator and on an emulator by other people.
 * Known differences of emulate@0.12.2, which the script steps around or levels out:
 * - it has no getProfile (watch answers the history id instead) and takes any bearer token
 * - its history ids have 21 digits, more than a uint64, and an old start never answers 404
 * - its page tokens are offsets, and garbage counts as 0
 * - it seeds labels of its own, so only system labels that both have are compared
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { createEmulator } from 'emulate'
import { auth, type gmail_v1, gmail as gmailClient } from 'googleapis'
import { freePort } from '../support/free-port.ts'
import { startSimulator } from './simulator.ts'

const ADDRESS = 'me@example.com'
const SCOPE = 'https://www.googleapis.com/auth/gmail.readonly'

function clientFor(rootUrl: string, accessToken: string): gmail_v1.Gmail {
  const login = new auth.OAuth2()
  login.setCredentials({ access_token: accessToken, expiry_date: Date.now() + 3600_000 })
  return gmailClient({ version: 'v1', auth: login, rootUrl, retry: false })
}

const rawMail = (subject: string): string =>
  Buffer.from(`From: Ada <ada@example.com>\r\nTo: me@example.com\r\nSubject: ${subject}\r\n\r\nHello`).toString(
    'base64url',
  )

/** Runs the script and answers what it saw, with ids replaced by the names of the mails. */
async function script(gmail: gmail_v1.Gmail): Promise<object> {
  const userId = 'me'
  const names = new Map<string, string>()
  const named = (id?: string | null) => names.get(id ?? '') ?? 'unknown'
  const insert = async (name: string, labelIds: string[]): Promise<string> => {
    const { data } = await gmail.users.messages.insert({ userId, requestBody: { raw: rawMail(name), labelIds } })
    names.set(data.id ?? '', name)
    return data.id ?? ''
  }
  const start =
    (await gmail.users.watch({ userId, requestBody: { topicName: 'projects/p/topics/t' } })).data.historyId ?? ''
  const first = await insert('first', ['INBOX', 'UNREAD'])
  const second = await insert('second', ['INBOX'])
  const third = await insert('third', ['INBOX', 'UNREAD'])
  const spam = await insert('spam', ['SPAM'])
  await gmail.users.messages.modify({
    userId,
    id: first,
    requestBody: { removeLabelIds: ['UNREAD'], addLabelIds: ['STARRED'] },
  })
  await gmail.users.messages.modify({
    userId,
    id: spam,
    requestBody: { removeLabelIds: ['SPAM'], addLabelIds: ['INBOX'] },
  })
  await gmail.users.messages.trash({ userId, id: third })
  await gmail.users.messages.delete({ userId, id: second })

  const list = await gmail.users.messages.list({ userId, maxResults: 1 })
  const next = await gmail.users.messages.list({ userId, maxResults: 1, pageToken: list.data.nextPageToken ?? '' })
  const all = await gmail.users.messages.list({ userId, includeSpamTrash: true })
  const starred = await gmail.users.messages.list({ userId, labelIds: ['STARRED'] })
  const got = await gmail.users.messages.get({
    userId,
    id: first,
    format: 'metadata',
    metadataHeaders: ['Subject', 'From'],
  })
  const gone = await gmail.users.messages.get({ userId, id: second }).catch((error: { status: number }) => error.status)
  const history = await gmail.users.history.list({ userId, startHistoryId: start })
  const added = await gmail.users.history.list({ userId, startHistoryId: start, historyTypes: ['messageAdded'] })
  const labels = await gmail.users.labels.list({ userId })
  const records = history.data.history ?? []
  const kinds = records.flatMap((record) => [
    ...(record.messagesAdded ?? []).map(({ message }) => `added ${named(message?.id)}`),
    ...(record.messagesDeleted ?? []).map(({ message }) => `deleted ${named(message?.id)}`),
    ...(record.labelsAdded ?? []).map(({ message, labelIds }) => `${named(message?.id)} +${labelIds}`),
    ...(record.labelsRemoved ?? []).map(({ message, labelIds }) => `${named(message?.id)} -${labelIds}`),
  ])
  return {
    pages: [list, next].map(({ data }) => data.messages?.length),
    live: new Set([...(list.data.messages ?? []), ...(next.data.messages ?? [])].map(({ id }) => named(id))),
    end: next.data.nextPageToken === undefined,
    all: new Set(all.data.messages?.map(({ id }) => named(id))),
    starred: starred.data.messages?.map(({ id }) => named(id)),
    labelsOfFirst: got.data.labelIds?.toSorted(),
    headers: got.data.payload?.headers?.map(({ name, value }) => `${name}: ${value}`).toSorted(),
    gone,
    history: kinds.toSorted(),
    chronological: records.every(({ id }, at) => at === 0 || BigInt(id ?? 0) > BigInt(records[at - 1]?.id ?? 0)),
    added: added.data.history?.flatMap(
      ({ messagesAdded }) => messagesAdded?.map(({ message }) => named(message?.id)) ?? [],
    ),
    labels: ['INBOX', 'SENT', 'DRAFT', 'SPAM', 'TRASH', 'UNREAD', 'STARRED', 'IMPORTANT'].filter((id) =>
      labels.data.labels?.some((label) => label.id === id && label.type === 'system'),
    ),
  }
}

async function tokenAnswer(url: string, form: Record<string, string>): Promise<[number, Record<string, unknown>]> {
  const body = new URLSearchParams({ client_id: 'c', client_secret: 's', ...form })
  const response = await fetch(url, { method: 'POST', body })
  return [response.status, (await response.json()) as Record<string, unknown>]
}

/** What a token endpoint says to a refresh token that it does not know. */
async function badRefresh(url: string): Promise<[number, unknown]> {
  const [status, { error }] = await tokenAnswer(url, { grant_type: 'refresh_token', refresh_token: '1//unknown' })
  return [status, error]
}

/** What it says to a good one, twice: the second time shows whether the token still lives. The new token must open the mailbox. */
async function goodRefresh(url: string, rootUrl: string, refreshToken: string): Promise<object> {
  const answers: object[] = []
  const tokens = new Set<string>()
  for (let turn = 0; turn < 2; turn++) {
    const form = { grant_type: 'refresh_token', refresh_token: refreshToken }
    const [status, { access_token, ...rest }] = await tokenAnswer(url, form)
    tokens.add(String(access_token))
    const listed = await clientFor(rootUrl, String(access_token)).users.messages.list({ userId: 'me' })
    answers.push({ status, rest, listed: listed.status })
  }
  return { answers, different: tokens.size }
}

/** Signs a person in at the emulator and answers the refresh token. */
async function signIn(url: string): Promise<string> {
  const redirect_uri = 'http://localhost/done'
  const consent = new URLSearchParams({ email: ADDRESS, redirect_uri, scope: SCOPE, state: 's', client_id: 'c' })
  const path = `${url}/o/oauth2/v2/auth/callback`
  const { headers } = await fetch(path, { method: 'POST', body: consent, redirect: 'manual' })
  const code = new URL(headers.get('location') ?? '').searchParams.get('code') ?? ''
  const [, { refresh_token }] = await tokenAnswer(`${url}/oauth2/token`, {
    grant_type: 'authorization_code',
    code,
    redirect_uri,
  })
  return String(refresh_token)
}

test('the real Gmail client sees the same on the simulator and on an independent emulator', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ user: 'u1', provider: 'google', n: 0 })
  const ours = await script(clientFor(simulator.env.MAIL_GMAIL_BASE_URL, who.access_token))
  const emulator = await createEmulator({
    service: 'google',
    port: await freePort(),
    seed: { google: { users: [{ email: ADDRESS, name: 'Me' }], messages: [] } },
  })
  try {
    assert.deepEqual(ours, await script(clientFor(emulator.url, 'any')))
    assert.deepEqual(
      await badRefresh(simulator.env.MAIL_GOOGLE_TOKEN_URL),
      await badRefresh(`${emulator.url}/oauth2/token`),
    )
    assert.deepEqual(
      await goodRefresh(simulator.env.MAIL_GOOGLE_TOKEN_URL, simulator.env.MAIL_GMAIL_BASE_URL, who.refresh_token),
      await goodRefresh(`${emulator.url}/oauth2/token`, emulator.url, await signIn(emulator.url)),
    )
  } finally {
    await emulator.close()
  }
})
