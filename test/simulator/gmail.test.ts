import assert from 'node:assert/strict'
import test from 'node:test'
import { type ErrorBody, type GmailList, gmail, listAll } from './requests.ts'
import { startSimulator } from './simulator.ts'

interface History {
  history?: {
    id: string
    messages?: object[]
    messagesAdded?: { message: { id: string } }[]
    labelsRemoved?: object[]
    messagesDeleted?: object[]
  }[]
  historyId: string
  nextPageToken?: string
}
const google = { user: 'u1', provider: 'google' } as const

test('the same seed gives the same mails and another seed gives others', async () => {
  const ids = async (seed: number) => {
    await using simulator = await startSimulator({ seed })
    const who = simulator.addMailbox({ ...google, n: 30 })
    const list = await listAll(simulator, who, 10)
    const { body } = await gmail<object>(simulator, who, `messages/${list[0]}`)
    return { list, body }
  }
  assert.deepEqual(await ids(7), await ids(7))
  assert.notDeepEqual(await ids(7), await ids(8))
})

test('a list is newest first, pages by token and leaves spam and trash out', async () => {
  for (const paging of ['keyset', 'offset'] as const) {
    await using simulator = await startSimulator({ paging })
    const who = simulator.addMailbox({ ...google, n: 120 })
    const ids = await listAll(simulator, who, 25)
    assert.equal(new Set(ids).size, ids.length)
    const spam = await gmail<GmailList>(simulator, who, 'messages?labelIds=SPAM&includeSpamTrash=true')
    assert.ok(spam.body.messages?.every(({ id }) => !ids.includes(id)))
    const times = await Promise.all(
      ids.slice(0, 5).map((id) => gmail<{ internalDate: string }>(simulator, who, `messages/${id}`)),
    )
    const dates = times.map(({ body }) => Number(body.internalDate))
    assert.deepEqual(
      dates,
      dates.toSorted((a, b) => b - a),
    )
    assert.equal((await gmail(simulator, who, 'messages?pageToken=garbage')).status, 400)
  }
})

test('a delete between two pages skips a live mail with offset tokens and none with keyset tokens', async () => {
  const lost = async (paging: 'keyset' | 'offset') => {
    await using simulator = await startSimulator({ paging })
    const who = simulator.addMailbox({ ...google, n: 60 })
    const before = await listAll(simulator, who, 500)
    const gone = before.slice(0, 3)
    const remove = () => {
      for (const id of gone) simulator.mutate({ type: 'delete', ...google, id })
    }
    const seen = await listAll(simulator, who, 10, remove)
    return before.filter((id) => !seen.includes(id)).length
  }
  assert.equal(await lost('keyset'), 0)
  assert.equal(await lost('offset'), 3)
})

test('history is exclusive of its start, grows with gaps and filters by type', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 10 })
  const { body: profile } = await gmail<{ historyId: string }>(simulator, who, 'profile')
  const id = simulator.mutate({ type: 'deliver', ...google, labels: ['SPAM'] })
  simulator.mutate({ type: 'unspam', ...google, id })
  const all = await gmail<History>(simulator, who, `history?startHistoryId=${profile.historyId}`)
  const ids = (all.body.history ?? []).map((record) => BigInt(record.id))
  assert.equal(ids.length, 3)
  assert.ok(ids.every((one, at) => at === 0 || one > (ids[at - 1] ?? 0n)))
  const moved = await gmail<History>(
    simulator,
    who,
    `history?startHistoryId=${profile.historyId}&historyTypes=labelRemoved`,
  )
  assert.equal(moved.body.history?.length, 1)
  const none = await gmail<History>(simulator, who, `history?startHistoryId=${all.body.historyId}`)
  assert.equal(none.body.history, undefined)
  assert.equal(none.body.historyId, all.body.historyId)
})

test('history pages continue from the same start', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 0 })
  const { body: profile } = await gmail<{ historyId: string }>(simulator, who, 'profile')
  const sent = Array.from({ length: 5 }, () => simulator.mutate({ type: 'deliver', ...google }))
  const seen: (string | undefined)[] = []
  for (let token = '', more = true; more; ) {
    const path = `history?startHistoryId=${profile.historyId}&maxResults=2${token && `&pageToken=${token}`}`
    const { body } = await gmail<History>(simulator, who, path)
    seen.push(...(body.history ?? []).map((record) => record.messagesAdded?.[0]?.message.id))
    token = body.nextPageToken ?? ''
    more = token !== ''
  }
  assert.deepEqual(seen, sent)
})

test('a start older than what is kept answers 404: after a week, and on demand', async () => {
  let now = Date.UTC(2026, 0, 1)
  await using simulator = await startSimulator({ now: () => now, tokenLifeS: 90 * 86_400 })
  const who = simulator.addMailbox({ ...google, n: 10 })
  const { body: profile } = await gmail<{ historyId: string }>(simulator, who, 'profile')
  const path = `history?startHistoryId=${profile.historyId}`
  simulator.mutate({ type: 'deliver', ...google })
  assert.equal((await gmail(simulator, who, path)).status, 200)
  now += 8 * 86_400_000
  assert.equal((await gmail(simulator, who, path)).status, 404)
  const fresh = await gmail<{ historyId: string }>(simulator, who, 'profile')
  simulator.faults.add({ match: { route: 'gmail.history.list', nth: 1 }, fault: { type: 'expireHistory' } })
  assert.equal((await gmail(simulator, who, `history?startHistoryId=${fresh.body.historyId}`)).status, 404)
  const after = await gmail<{ historyId: string }>(simulator, who, 'profile')
  assert.equal((await gmail(simulator, who, `history?startHistoryId=${after.body.historyId}`)).status, 200)
})

test('history ids of some mailboxes pass 2^53, of others a change of digits', async () => {
  await using simulator = await startSimulator()
  const grows = await Promise.all(
    ['a', 'b', 'c', 'd', 'e', 'f'].map(async (user) => {
      const who = simulator.addMailbox({ user, provider: 'google', n: 10 })
      const before = await gmail<{ historyId: string }>(simulator, who, 'profile')
      for (let at = 0; at < 9; at++) simulator.mutate({ type: 'deliver', user, provider: 'google' })
      const after = await gmail<{ historyId: string }>(simulator, who, 'profile')
      return { before: before.body.historyId, after: after.body.historyId }
    }),
  )
  assert.ok(grows.some(({ after }) => BigInt(after) > 2n ** 53n))
  assert.ok(grows.some(({ before, after }) => after.length > before.length && after < before))
})

test('a deleted mail answers 404 and a mail of another mailbox is unknown', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 3 })
  const other = simulator.addMailbox({ user: 'u2', provider: 'google', n: 3 })
  const [id = ''] = await listAll(simulator, who, 10)
  assert.equal((await gmail(simulator, other, `messages/${id}`)).status, 404)
  simulator.mutate({ type: 'delete', ...google, id })
  const gone = await gmail<ErrorBody>(simulator, who, `messages/${id}`)
  assert.equal(gone.status, 404)
  assert.equal(gone.body.error.errors?.[0]?.reason, 'notFound')
})

test('metadata headers can be chosen and snippets are HTML-escaped', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 1 })
  const id = simulator.mutate({ type: 'deliver', ...google, preview: `a < b & 'c'`, subject: 'Größe' })
  const path = `messages/${id}?format=metadata&metadataHeaders=subject&metadataHeaders=From`
  const { body } = await gmail<{ snippet: string; payload: { headers: { name: string }[] } }>(simulator, who, path)
  assert.equal(body.snippet, 'a &lt; b &amp; &#39;c&#39;')
  assert.deepEqual(body.payload.headers.map(({ name }) => name).sort(), ['From', 'Subject'])
})

test('the truth follows what happens to a mail', async () => {
  await using simulator = await startSimulator()
  simulator.addMailbox({ ...google, n: 0 })
  const deliver = (...labels: string[]) => simulator.mutate({ type: 'deliver', ...google, labels })
  const [kept, spam, trashed, deleted, freed] = [
    deliver('INBOX'),
    deliver('SPAM'),
    deliver('INBOX'),
    deliver('INBOX'),
    deliver('SPAM'),
  ]
  simulator.mutate({ type: 'trash', ...google, id: trashed })
  simulator.mutate({ type: 'delete', ...google, id: deleted })
  simulator.mutate({ type: 'unspam', ...google, id: freed })
  const draft = simulator.mutate({ type: 'draftSave', ...google })
  const again = simulator.mutate({ type: 'draftSave', ...google, id: draft })
  const sent = simulator.mutate({ type: 'send', ...google, id: again })
  const { must, mustNot } = simulator.truth('u1', 'google')
  assert.deepEqual(must, [kept, freed, sent])
  assert.deepEqual(mustNot, [spam, draft, again])
})

test('a million mails need no list in memory', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 1_000_000 })
  const { body } = await gmail<{ messagesTotal: number }>(simulator, who, 'profile')
  assert.equal(body.messagesTotal, 1_000_000)
  const page = await gmail<GmailList>(simulator, who, 'messages?maxResults=500')
  assert.equal(page.body.messages?.length, 500)
})
