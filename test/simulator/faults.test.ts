import assert from 'node:assert/strict'
import test from 'node:test'
import { type ErrorBody, type GmailList, type GraphPage, gmail, graph, refresh, round } from './requests.ts'
import { type Simulator, startSimulator } from './simulator.ts'
import type { Credentials, Fault } from './types.ts'

const google = { user: 'u1', provider: 'google' } as const
const microsoft = { user: 'u1', provider: 'microsoft' } as const

async function raw(simulator: Simulator, who: Credentials, path: string, init: RequestInit = {}): Promise<string> {
  const headers = { authorization: `Bearer ${who.access_token}` }
  const response = await fetch(`${simulator.url}${path}`, { headers, ...init })
  return `${response.status} ${response.headers.get('content-type')} ${await response.text()}`
}

function once(simulator: Simulator, fault: Fault): void {
  simulator.faults.clear()
  simulator.faults.add({ fault, times: 1 })
}

test('rules fire in order, by count, by share and by mailbox, and stop after their times', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 1 })
  const other = simulator.addMailbox({ user: 'u2', provider: 'google', n: 1 })
  const statuses = async (one: Credentials, count: number) => {
    const list: number[] = []
    for (let at = 0; at < count; at++) list.push((await gmail(simulator, one, 'profile')).status)
    return list
  }
  simulator.faults.add({ match: { mailbox: 'u1', nth: 2 }, fault: { type: '503' } })
  simulator.faults.add({ match: { route: 'gmail.*', mailbox: 'u1', every: 3 }, fault: { type: '500' }, times: 1 })
  assert.deepEqual(await statuses(who, 6), [200, 503, 500, 200, 200, 200])
  assert.deepEqual(await statuses(other, 3), [200, 200, 200])
  simulator.faults.clear()
  simulator.faults.add({ match: { p: 0.5 }, fault: { type: '500' } })
  const half = (await statuses(who, 40)).filter((status) => status === 500).length
  assert.ok(half > 8 && half < 32)
})

test('faults of the answer look as the providers send them', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 3 })
  const cases: [Fault, RegExp][] = [
    [{ type: '403rate', retryAfter: 5 }, /^403 .*Retry after \d{4}-.*userRateLimitExceeded.*PERMISSION_DENIED/],
    [{ type: '429', retryAfter: 5 }, /^429 .*RESOURCE_EXHAUSTED/],
    [{ type: '403scope' }, /^403 .*insufficientPermissions/],
    [{ type: '400precondition' }, /^400 .*FAILED_PRECONDITION/],
    [{ type: '500' }, /^500 .*backendError/],
    [{ type: '502html' }, /^502 text\/html/],
    [{ type: '503' }, /^503 .*UNAVAILABLE/],
    [{ type: 'htmlOk' }, /^200 text\/html <!doctype/],
    [{ type: 'emptyBody' }, /^200 \S* $/],
    [{ type: 'wrongType' }, /"messages":\{"unexpected":true\}/],
    [{ type: 'dropField', field: 'messages' }, /^200 [^[]*$/],
    [{ type: 'truncate', mode: 'clean' }, /^200 .*[^}]$/],
    [{ type: 'slow', bytesPerSec: 20_000 }, /^200 .*\}$/],
  ]
  for (const [fault, looks] of cases) {
    once(simulator, fault)
    assert.match(await raw(simulator, who, '/gmail/v1/users/me/messages'), looks, fault.type)
    assert.match(await raw(simulator, who, '/gmail/v1/users/me/messages'), /^200 .*\}$/)
  }
})

test('a 503 may name a wait, and who asks again before it has passed is counted', async () => {
  let now = Date.UTC(2026, 0, 1)
  await using simulator = await startSimulator({ now: () => now, graceMs: 0 })
  for (const who of [google, microsoft]) {
    const mailbox = simulator.addMailbox({ ...who, n: 1 })
    const ask = () =>
      who === google ? gmail(simulator, mailbox, 'profile') : graph(simulator, mailbox, 'mailFolders/inbox')
    const early = () => simulator.ledger().mailboxes[`${who.provider}:u1`]?.earlyRetries
    once(simulator, { type: '503' })
    assert.equal((await ask()).headers.get('retry-after'), null)
    await ask()
    assert.equal(early(), 0)
    once(simulator, { type: '503', retryAfter: 5 })
    const refused = await ask()
    assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '5'])
    await ask()
    assert.equal(early(), 1)
    now += 5000
    await ask()
    assert.equal(early(), 1)
  }
})

test('faults of the wire break the connection or never answer', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 3 })
  const cuts: Fault[] = [
    { type: 'reset', when: 'before' },
    { type: 'reset', when: 'midBody' },
    { type: 'truncate', mode: 'content-length' },
    { type: 'truncate', mode: 'chunked' },
  ]
  for (const fault of cuts) {
    once(simulator, fault)
    await assert.rejects(raw(simulator, who, '/gmail/v1/users/me/messages'), TypeError, fault.type)
  }
  once(simulator, { type: 'hang' })
  const signal = AbortSignal.timeout(100)
  await assert.rejects(
    raw(simulator, who, '/gmail/v1/users/me/messages', {
      headers: { authorization: `Bearer ${who.access_token}` },
      signal,
    }),
  )
  assert.equal(await raw(simulator, who, '/gmail/v1/users/me/labels').then((text) => text.slice(0, 3)), '200')
})

test('faults of lists repeat, reorder, empty and thin out what is on a page', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 100 })
  const inbox = 'mailFolders/inbox/messages/delta'
  const page = async () => (await graph<GraphPage>(simulator, who, inbox)).body
  const plain = (await page()).value.map(({ id }) => id)
  once(simulator, { type: 'dupItems' })
  assert.equal((await page()).value.length, 14)
  once(simulator, { type: 'shuffle' })
  const mixed = (await page()).value.map(({ id }) => id)
  assert.notDeepEqual(mixed, plain)
  assert.deepEqual(mixed.toSorted(), plain.toSorted())
  once(simulator, { type: 'partialItems' })
  assert.deepEqual(
    Object.keys((await page()).value[0] ?? {})
      .filter((name) => !name.startsWith('@'))
      .sort(),
    ['categories', 'id', 'isRead'],
  )
  once(simulator, { type: 'historyLess' })
  const empty = await page()
  assert.deepEqual(empty.value, [])
  assert.ok(empty['@odata.nextLink'])
  const whole = await round(simulator, who, inbox)
  assert.equal(whole.items.length, (await round(simulator, who, empty['@odata.nextLink'] ?? '')).items.length)
  simulator.faults.add({ fault: { type: 'replay' } })
  const again = await round(simulator, who, inbox, 'IdType="ImmutableId", odata.maxpagesize=3')
  simulator.faults.clear()
  assert.ok(again.items.length > whole.items.length)
  assert.deepEqual(new Set(again.items.map(({ id }) => id)), new Set(whole.items.map(({ id }) => id)))
})

test('a history page may lack its records and still go on; bare records come on top', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 1 })
  const { body: profile } = await gmail<{ historyId: string }>(simulator, who, 'profile')
  simulator.mutate({ type: 'deliver', ...google })
  const path = `history?startHistoryId=${profile.historyId}`
  once(simulator, { type: 'historyLess' })
  const { body } = await gmail<{ history?: object[]; nextPageToken: string }>(simulator, who, path)
  assert.equal(body.history, undefined)
  const next = await gmail<{ history?: object[] }>(simulator, who, `${path}&pageToken=${body.nextPageToken}`)
  assert.equal(next.body.history?.length, 1)
  once(simulator, { type: 'messagesOnly' })
  const bare = await gmail<{ history: object[] }>(simulator, who, path)
  assert.deepEqual(
    bare.body.history.map((record) => 'messagesAdded' in record),
    [false, true],
  )
})

test('history may lag, come as one record, with a broken one, or with its id as a number', async () => {
  let now = Date.UTC(2026, 0, 1)
  await using simulator = await startSimulator({ now: () => now })
  const who = simulator.addMailbox({ ...google, n: 1 })
  const { body: profile } = await gmail<{ historyId: string }>(simulator, who, 'profile')
  const ids = [1, 2, 3].map(() => {
    now += 1000
    return simulator.mutate({ type: 'deliver', ...google })
  })
  const ask = async (fault: Fault) => {
    once(simulator, fault)
    const path = `history?startHistoryId=${profile.historyId}`
    return (
      await gmail<{ history?: ({ messagesAdded?: { message: { id: string } }[] } | null)[]; historyId: unknown }>(
        simulator,
        who,
        path,
      )
    ).body
  }
  const added = ({ history = [] }: Awaited<ReturnType<typeof ask>>) =>
    history.map((record) => record?.messagesAdded?.map(({ message }) => message.id) ?? [])
  const whole = await ask({ type: 'lateHistory', ms: 0 })
  assert.deepEqual(
    added(whole),
    ids.map((id) => [id]),
  )
  const late = await ask({ type: 'lateHistory', ms: 1500 })
  assert.deepEqual(
    added(late),
    ids.slice(0, 1).map((id) => [id]),
  )
  assert.ok(BigInt(String(late.historyId)) < BigInt(String(whole.historyId)))
  assert.equal((await ask({ type: 'lateHistory', ms: 60_000 })).historyId, profile.historyId)
  assert.deepEqual(added(await ask({ type: 'oneRecord' })), [ids])
  assert.deepEqual(added(await ask({ type: 'brokenItem' })), [[], ...ids.slice(1).map((id) => [id])])
  assert.equal((await ask({ type: 'numberIds' })).historyId, Number(whole.historyId))
})

test('a small body can unpack to more than anybody wants to hold', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 1 })
  once(simulator, { type: 'gzipBomb' })
  assert.ok((await raw(simulator, who, '/gmail/v1/users/me/profile')).length > 48 << 20)
})

test('mail can vanish between list and get, and a new mail can be unknown for a while', async () => {
  let now = Date.UTC(2026, 0, 1)
  await using simulator = await startSimulator({ now: () => now })
  const who = simulator.addMailbox({ ...google, n: 0 })
  const ids = [1, 2, 3].map(() => simulator.mutate({ type: 'deliver', ...google }))
  simulator.faults.add({ match: { route: 'gmail.messages.get' }, fault: { type: 'transient404', ms: 3000 } })
  assert.equal((await gmail(simulator, who, `messages/${ids[0]}`)).status, 404)
  now += 3000
  assert.equal((await gmail(simulator, who, `messages/${ids[0]}`)).status, 200)
  once(simulator, { type: 'vanish' })
  const { body } = await gmail<GmailList>(simulator, who, 'messages')
  assert.equal(body.messages?.length, 3)
  assert.equal((await gmail(simulator, who, `messages/${body.messages?.[0]?.id}`)).status, 404)
  assert.deepEqual(simulator.truth('u1', 'google'), { must: ids.slice(0, 2), mustNot: [] })
})

test('page tokens and delta links can be refused, with the initial URL to start again', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 50 })
  const { deltaLink } = await round(simulator, who, 'mailFolders/inbox/messages/delta')
  once(simulator, { type: 'expireDelta', code: 'resyncRequired' })
  const gone = await graph<ErrorBody>(simulator, who, deltaLink)
  assert.deepEqual([gone.status, gone.body.error.code], [410, 'resyncRequired'])
  assert.equal((await graph(simulator, who, gone.headers.get('location') ?? '')).status, 200)
  assert.equal((await graph(simulator, who, deltaLink)).status, 410, 'the old link stays gone')
  const user = simulator.addMailbox({ ...google, n: 10 })
  const { body } = await gmail<GmailList>(simulator, user, 'messages?maxResults=3')
  simulator.faults.add({ match: { route: 'gmail.messages.list' }, fault: { type: 'badPageToken' } })
  assert.equal((await gmail(simulator, user, 'messages?maxResults=3')).status, 200, 'a first page has no token')
  assert.equal((await gmail(simulator, user, `messages?pageToken=${body.nextPageToken}`)).status, 400)
})

test('token endpoints can refuse the user, the client, or be down, and a 401 lasts until the refresh', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 1 })
  const url = simulator.env.MAIL_GOOGLE_TOKEN_URL
  for (const [type, status] of [
    ['invalid_grant', 400],
    ['invalid_client', 401],
    ['token5xx', 503],
  ] as const) {
    once(simulator, { type })
    assert.equal((await refresh(url, who)).status, status)
  }
  simulator.faults.clear()
  simulator.faults.add({ match: { route: 'gmail.profile', nth: 1 }, fault: { type: '401untilRefresh' } })
  assert.equal((await gmail(simulator, who, 'profile')).status, 401)
  assert.equal((await gmail(simulator, who, 'profile')).status, 401)
  const fresh = (await (await refresh(url, who)).json()) as { access_token: string }
  assert.equal((await gmail(simulator, { ...who, ...fresh }, 'profile')).status, 200)
})

test('the Date header can be skewed', async () => {
  await using simulator = await startSimulator({ now: () => Date.UTC(2026, 0, 1) })
  const who = simulator.addMailbox({ ...google, n: 1 })
  once(simulator, { type: 'clockSkew', s: 3600 })
  const skewed = await gmail(simulator, who, 'profile')
  const plain = await gmail(simulator, who, 'profile')
  assert.equal(skewed.headers.get('date'), 'Thu, 01 Jan 2026 01:00:00 GMT')
  assert.equal(plain.headers.get('date'), 'Thu, 01 Jan 2026 00:00:00 GMT')
})
