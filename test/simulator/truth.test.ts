/**
 * The truth is reachable: a plain reader that follows the providers' rules (ids first and history from before the
 * first list; one delta per folder, deltaLinks to the end) ends with exactly the mails that the truth names, while
 * the mailbox changes between its requests.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { unit } from './random.ts'
import { type GmailList, type GraphPage, gmail, graph } from './requests.ts'
import { type Simulator, startSimulator } from './simulator.ts'
import type { Credentials, Mutation, ProviderName } from './types.ts'

const EXCLUDED = ['drafts', 'outbox', 'junkemail', 'deleteditems', 'conversationhistory', 'syncissues']

/** One seeded change at each call, on a mail that it delivered itself or that was seeded. */
function meddler(simulator: Simulator, provider: ProviderName, seed: number): () => void {
  const who = { user: 'u1', provider } as const
  const { must, mustNot } = simulator.truth('u1', provider)
  const live = [...must, ...mustNot]
  let step = 0
  return () => {
    const at = Math.floor(unit(seed, step, 1) * live.length)
    const id = live[at] ?? ''
    const kinds: Mutation[] = [
      { type: 'deliver', ...who },
      { type: 'deliver', ...who, ...(provider === 'google' ? { labels: ['SPAM'] } : { folder: 'junkemail' }) },
      { type: 'delete', ...who, id },
      { type: 'trash', ...who, id },
      { type: 'move', ...who, id, to: provider === 'google' ? 'Receipts' : 'archive' },
      { type: 'move', ...who, id, to: provider === 'google' ? 'INBOX' : 'New/Folder' },
      { type: 'markRead', ...who, id },
    ]
    const action = kinds[Math.floor(unit(seed, step++, 2) * kinds.length)]
    if (!action) return
    const after = simulator.mutate(action)
    if (action.type === 'deliver') live.push(after)
    if (action.type === 'delete') live.splice(at, 1)
  }
}

async function readGmail(simulator: Simulator, who: Credentials, meddle: () => void): Promise<Set<string>> {
  const seen = new Set<string>()
  const ask = async <T>(path: string) => {
    const { body, status } = await gmail<T>(simulator, who, path)
    meddle()
    return { body, status }
  }
  const look = async (id: string): Promise<void> => {
    const { status, body } = await ask<{ labelIds: string[] }>(`messages/${id}?format=minimal`)
    const event = status === 200 && !body.labelIds.some((label) => ['DRAFT', 'CHAT', 'SPAM', 'TRASH'].includes(label))
    if (event) seen.add(id)
  }
  const { body: profile } = await ask<{ historyId: string }>('profile')
  const ids = new Set<string>()
  for (let before = -1; ids.size > before; ) {
    before = ids.size
    let token = ''
    do {
      const { body } = await ask<GmailList>(`messages?maxResults=20&pageToken=${token}`.replace(/&pageToken=$/, ''))
      for (const { id } of body.messages ?? []) ids.add(id)
      token = body.nextPageToken ?? ''
    } while (token)
  }
  for (const id of ids) await look(id)
  interface History {
    history?: { messages: { id: string }[] }[]
  }
  // The mailbox is at rest now, so one walk of the history is the last one.
  const { body } = await gmail<History>(simulator, who, `history?startHistoryId=${profile.historyId}&maxResults=500`)
  const touched = new Set((body.history ?? []).flatMap(({ messages }) => messages.map(({ id }) => id)))
  const rest = { look: (id: string) => gmail<{ labelIds: string[] }>(simulator, who, `messages/${id}?format=minimal`) }
  for (const id of touched) {
    const { status, body: mail } = await rest.look(id)
    if (status === 200 && !mail.labelIds.some((label) => ['DRAFT', 'CHAT', 'SPAM', 'TRASH'].includes(label)))
      seen.add(id)
  }
  return seen
}

async function readGraph(simulator: Simulator, who: Credentials, meddle: () => void): Promise<Set<string>> {
  const seen = new Set<string>()
  const walk = async (link: string, take: (page: GraphPage) => void, change: () => void): Promise<string> => {
    const { status, body } = await graph<GraphPage>(simulator, who, link, 'IdType="ImmutableId", odata.maxpagesize=20')
    assert.equal(status, 200)
    take(body)
    change()
    return body['@odata.deltaLink'] ?? walk(body['@odata.nextLink'] ?? '', take, change)
  }
  const out = new Set<string>()
  for (const name of EXCLUDED) out.add((await graph<{ id: string }>(simulator, who, `mailFolders/${name}`)).body.id)
  const links = new Map<string, string>()
  const addFolders = ({ value }: GraphPage): void => {
    for (const folder of value as { id: string; parentFolderId?: string }[]) {
      if (out.has(folder.parentFolderId ?? '')) out.add(folder.id)
      if (!out.has(folder.id)) links.set(folder.id, links.get(folder.id) ?? `mailFolders/${folder.id}/messages/delta`)
    }
  }
  let folders = 'mailFolders/delta'
  for (const change of [meddle, meddle, () => undefined]) {
    folders = await walk(folders, addFolders, change)
    for (const [id, link] of links) {
      const take = ({ value }: GraphPage): void => {
        for (const item of value) if (!item['@removed']) seen.add(item.id)
      }
      links.set(id, await walk(link, take, change))
    }
  }
  return seen
}

function judge(simulator: Simulator, provider: ProviderName, seen: Set<string>): void {
  const { must, mustNot } = simulator.truth('u1', provider)
  assert.deepEqual(
    must.filter((id) => !seen.has(id)),
    [],
    'nothing is lost',
  )
  assert.deepEqual(
    mustNot.filter((id) => seen.has(id)),
    [],
    'nothing is an event that never was one',
  )
}

for (const seed of [1, 2, 3]) {
  for (const paging of ['keyset', 'offset'] as const) {
    test(`a reader of Gmail reaches the truth while the mailbox changes (${paging} tokens, seed ${seed})`, async () => {
      await using simulator = await startSimulator({ paging, seed })
      const who = simulator.addMailbox({ user: 'u1', provider: 'google', n: 120 })
      judge(simulator, 'google', await readGmail(simulator, who, meddler(simulator, 'google', seed)))
    })
  }
  test(`a reader of Graph reaches the truth while the mailbox changes (seed ${seed})`, async () => {
    await using simulator = await startSimulator({ seed })
    const who = simulator.addMailbox({ user: 'u1', provider: 'microsoft', n: 200 })
    judge(simulator, 'microsoft', await readGraph(simulator, who, meddler(simulator, 'microsoft', seed)))
  })
}
