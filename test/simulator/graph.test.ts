import assert from 'node:assert/strict'
import test from 'node:test'
import { ask, type ErrorBody, type GraphPage, graph, round } from './requests.ts'
import { type Simulator, startSimulator } from './simulator.ts'
import type { Credentials } from './types.ts'

const microsoft = { user: 'u1', provider: 'microsoft' } as const
const INBOX = 'mailFolders/inbox/messages/delta'

async function folders(simulator: Simulator, who: Credentials): Promise<{ id: string; displayName?: string }[]> {
  return (await round(simulator, who, 'mailFolders/delta')).items
}

test('a round over every folder yields every mail once, and the truth is what lies in folders of events', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 300 })
  const ids: string[] = []
  for (const folder of await folders(simulator, who)) {
    ids.push(...(await round(simulator, who, `mailFolders/${folder.id}/messages/delta`)).items.map(({ id }) => id))
  }
  const { must, mustNot } = simulator.truth('u1', 'microsoft')
  assert.equal(ids.length, 300)
  assert.deepEqual(new Set([...must, ...mustNot]), new Set(ids))
})

test('a page has ten mails unless Prefer asks for more, never more than the server grants', async () => {
  await using simulator = await startSimulator({ pageSizeGraph: 30 })
  const who = simulator.addMailbox({ ...microsoft, n: 200 })
  const size = async (prefer: string) => (await graph<GraphPage>(simulator, who, INBOX, prefer)).body.value.length
  assert.equal(await size(''), 10)
  assert.equal(await size('odata.maxpagesize=20'), 20)
  assert.equal(await size('odata.maxpagesize=100'), 30)
  const { headers } = await graph(simulator, who, INBOX, 'IdType="ImmutableId", odata.maxpagesize=5')
  assert.equal(headers.get('preference-applied'), 'IdType="ImmutableId", odata.maxpagesize=5')
})

test('$top on a delta cuts the whole round: older mail never comes', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 200 })
  const all = await round(simulator, who, INBOX)
  const cut = await round(simulator, who, `${INBOX}?$top=15`, 'odata.maxpagesize=10')
  assert.ok(all.items.length > 15)
  assert.equal(cut.items.length, 15)
  assert.deepEqual((await round(simulator, who, cut.deltaLink)).items, [])
})

test('a move keeps the immutable id, changes the default id and is removed here and created there', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 20 })
  const start = async (prefer: string) => ({
    inbox: (await round(simulator, who, INBOX, prefer)).deltaLink,
    archive: (await round(simulator, who, 'mailFolders/archive/messages/delta', prefer)).deltaLink,
  })
  const stable = await start('IdType="ImmutableId"')
  const loose = await start('')
  const id = simulator.mutate({ type: 'deliver', ...microsoft, subject: 'moving' })
  const born = await round(simulator, who, loose.inbox, '')
  simulator.mutate({ type: 'move', ...microsoft, id, to: 'archive' })

  assert.deepEqual(
    (await round(simulator, who, stable.inbox)).items.map((item) => [item.id, '@removed' in item]),
    [[id, true]],
  )
  assert.deepEqual(
    (await round(simulator, who, stable.archive)).items.map((item) => item.id),
    [id],
  )
  const gone = await round(simulator, who, born.deltaLink, '')
  const there = await round(simulator, who, loose.archive, '')
  assert.equal(gone.items[0]?.id, born.items[0]?.id)
  assert.notEqual(there.items[0]?.id, born.items[0]?.id)
  assert.equal((await graph(simulator, who, `messages/${born.items[0]?.id}`, '')).status, 404)
  assert.equal((await graph(simulator, who, `messages/${id}`)).status, 200)
})

test('a folder keeps three generations of sync state; an older link is gone with 410', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 200 })
  const first = await graph<GraphPage>(simulator, who, INBOX)
  const link = first.body['@odata.nextLink'] ?? ''
  for (let at = 0; at < 3; at++) assert.equal((await graph(simulator, who, link)).status, 200)
  const gone = await graph<ErrorBody>(simulator, who, link)
  assert.equal(gone.status, 410)
  assert.equal(gone.body.error.code, 'SyncStateNotFound')
  assert.match(gone.body.error.message, /generation=151;\[highest=154\]/)
  const other = await graph(simulator, who, 'mailFolders/archive/messages/delta')
  assert.equal(other.status, 200)
})

test('a link is bound to its folder and its mailbox', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 50 })
  const { deltaLink } = await round(simulator, who, INBOX)
  const token = new URL(deltaLink).search
  assert.equal((await graph(simulator, who, `mailFolders/archive/messages/delta${token}`)).status, 400)
  const other = simulator.addMailbox({ user: 'u2', provider: 'microsoft', n: 50 })
  assert.equal((await graph(simulator, other, `mailFolders/inbox/messages/delta${token}`)).status, 400)
  assert.equal((await graph(simulator, who, `${INBOX}?$deltatoken=garbage`)).status, 400)
})

test('mail that arrives, leaves and changes during the first walk comes with the next round', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 100 })
  const first = await graph<GraphPage>(simulator, who, `${INBOX}?$select=subject,isRead`)
  const arrived = simulator.mutate({ type: 'deliver', ...microsoft, subject: 'late' })
  const [left = '', read = ''] = first.body.value.map(({ id }) => id)
  simulator.mutate({ type: 'delete', ...microsoft, id: left })
  simulator.mutate({ type: 'markRead', ...microsoft, id: read, isRead: false })
  const rest = await round(simulator, who, first.body['@odata.nextLink'] ?? '')
  assert.ok(!rest.items.some(({ id }) => id === arrived))
  const next = await round(simulator, who, rest.deltaLink)
  assert.deepEqual(
    next.items.map(({ id }) => id),
    [arrived, left, read],
  )
  assert.equal(next.items[0]?.subject, 'late')
  assert.ok(next.items[1]?.['@removed'])
  assert.deepEqual(
    [next.items[2]?.isRead, 'subject' in (next.items[2] ?? {})],
    [false, false],
    'an update shows only what changed',
  )
})

test('new folders come with the folder delta, and a deleted folder lies below the deleted items', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 0 })
  const { deltaLink } = await round(simulator, who, 'mailFolders/delta')
  const id = simulator.mutate({ type: 'createFolder', ...microsoft, name: 'New/Deep' })
  const mail = simulator.mutate({ type: 'deliver', ...microsoft, folder: 'New/Deep' })
  const next = await round(simulator, who, deltaLink)
  assert.equal(next.items.length, 2)
  assert.equal(next.items[1]?.id, id)
  assert.deepEqual(simulator.truth('u1', 'microsoft').must, [mail])
  simulator.mutate({ type: 'deleteFolder', ...microsoft, folder: id })
  assert.deepEqual(simulator.truth('u1', 'microsoft'), { must: [], mustNot: [] }, 'it may have been seen before')
})

test('a draft that is sent keeps its immutable id and becomes an event', async () => {
  await using simulator = await startSimulator()
  simulator.addMailbox({ ...microsoft, n: 0 })
  const draft = simulator.mutate({ type: 'draftSave', ...microsoft })
  assert.deepEqual(simulator.truth('u1', 'microsoft').mustNot, [draft])
  simulator.mutate({ type: 'send', ...microsoft, id: draft })
  assert.deepEqual(simulator.truth('u1', 'microsoft').must, [draft])
})

test('a delta over all messages is refused as Graph refuses it', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 1 })
  const { status, body } = await graph<ErrorBody>(simulator, who, 'messages/delta')
  assert.equal(status, 400)
  assert.match(body.error.message, /Change tracking is not supported against 'microsoft.graph.message'/)
})

test('the parts of a batch are answered, paid and logged singly', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 5 })
  const requests = ['/me', '/me/mailFolders/inbox', '/me/messages/none'].map((url, at) => ({
    id: String(at),
    method: 'GET',
    url,
  }))
  const reply = await ask<{ responses: { id: string; status: number }[] }>(simulator, who, '/v1.0/$batch', {
    method: 'POST',
    body: JSON.stringify({ requests }),
  })
  const byId = reply.body.responses.toSorted((a, b) => Number(a.id) - Number(b.id))
  assert.deepEqual(
    byId.map(({ status }) => status),
    [200, 200, 404],
  )
  assert.equal(simulator.ledger().mailboxes['microsoft:u1']?.total, 3)
  assert.equal(simulator.log().filter(({ batched }) => batched).length, 3)
})
