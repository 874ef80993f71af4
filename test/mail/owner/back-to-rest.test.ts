/** A user to whom nothing has happened for a while is worked for no more: the lease stays, and the polls go on at rest. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import type { TenureDeps } from '../../../services/mail/owner/tenure-deps.ts'
import { eventsOf } from '../../support/ledger.ts'
import { until } from '../../support/until.ts'
import { mail } from '../store/support.ts'
import { steady } from '../sync/plain-worker.ts'
import { type Node, type OwnerBox, ownerBox, TWENTY } from './support.ts'

const USER = 'ada'
const REST_AFTER_MS = 400

const tenureOf = (node: Node) => node.supervisor.tenures.get(USER)
const isLive = (node: Node) => until('the mailbox is live', () => tenureOf(node)?.statuses()?.[0]?.state === 'live')
const isAtRest = (node: Node) =>
  until('it is at rest', () => {
    const tenure = tenureOf(node)
    return tenure !== undefined && tenure.statuses() === null && tenure.rest.isQuiet
  })
const arePolls = (node: Node, more = 3): Promise<unknown> => {
  const from = node.provider.asked.length
  return until('it is polled', () => node.provider.asked.length >= from + more)
}

async function worked(box: OwnerBox, tenure: Partial<Omit<TenureDeps, 'store'>> = {}): Promise<Node> {
  const a = await box.node('a', { tenure: { pace: steady(100), restAfterMs: REST_AFTER_MS, ...tenure } })
  a.run()
  await box.put(a, USER)
  await isLive(a)
  return a
}

/** The next poll brings one more mail. */
function deliver(node: Node, id: string, cursors: [from: string, to: string]): void {
  const { answer } = node.provider
  node.provider.answer = (request, call) =>
    request.cursor === cursors[0]
      ? { messages: [mail(id)], lanes: [{ lane: request.lane, cursor: cursors[1], done: true }] }
      : request.cursor === cursors[1]
        ? { lanes: [{ lane: request.lane, cursor: cursors[1], done: true }] }
        : answer(request, call)
}

test('work ends, the database is closed, lease and polls go on; mail that comes is published once, and then it rests again', async () => {
  await using box = await ownerBox()
  const began: unknown[] = []
  const a = await worked(box, { termBegan: (_user, epoch) => void began.push(epoch) })
  const epoch = tenureOf(a)?.epoch
  await isAtRest(a)
  await until('the database is closed', () => !existsSync(`${a.store.fileOf(USER)}-shm`))
  await arePolls(a)
  assert.deepEqual([tenureOf(a)?.statuses(), existsSync(`${a.store.fileOf(USER)}-shm`)], [null, false])
  assert.equal(a.supervisor.owns(USER), true)
  deliver(a, 'new', ['4', '5'])
  const ops = await box.connect('ops')
  await until('the mail is published', async () => (await eventsOf(ops, USER)).length === TWENTY + 1)
  await isAtRest(a)
  deliver(a, 'newer', ['5', '6'])
  await until('the next one is, too', async () => (await eventsOf(ops, USER)).length === TWENTY + 2)
  const ids = (await eventsOf(ops, USER)).map(({ event }) => event.provider_message_id)
  assert.deepEqual([new Set(ids).size, ids.slice(-2), a.workers.length], [TWENTY + 2, ['new', 'newer'], 3])
  assert.deepEqual([tenureOf(a)?.epoch, began], [epoch, [epoch]], 'one term, told once')
})

test('whoever asks for the status gets it, and the user rests again later', async () => {
  await using box = await ownerBox()
  const a = await worked(box)
  await isAtRest(a)
  assert.equal((await a.supervisor.statuses(USER))?.[0]?.state, 'live')
  await isAtRest(a)
  await box.put(a, USER, { revoke: 'a grant' })
  await until('an account that asks for more than polls starts it', () => (tenureOf(a)?.statuses() ?? null) !== null)
})

test('the status of a user who was at rest tells of the polls that were made meanwhile', async () => {
  await using box = await ownerBox()
  const a = await worked(box)
  await isAtRest(a)
  await arePolls(a, 12)
  const { answer } = a.provider
  // The worker is not told anything before the status is asked for.
  a.provider.answer = (_request, { signal }) =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  const polledAt = Math.floor(Date.now() / 1_000)
  const [status] = (await a.supervisor.statuses(USER)) ?? []
  assert.ok((status?.last_synced_at ?? 0) >= polledAt - 2, `${status?.last_synced_at} is not about ${polledAt}`)
  a.provider.answer = answer
})

test('a user at rest is handed to another instance like any other', async () => {
  await using box = await ownerBox()
  const a = await worked(box)
  await isAtRest(a)
  await a.end()
  const b = await box.node('b', { tenure: { pace: steady(100) } })
  b.run()
  await arePolls(b)
  assert.deepEqual([b.workers.length, b.store.inspect(USER)], [0, 'absent'], 'nothing was taken over')
})

for (const [why, parts] of [
  ['its positions cannot be polled from again', { idlePoll: () => null }],
  ['news are younger', { restAfterMs: 60_000 }],
] as const)
  test(`a user stays worked for when ${why}`, async () => {
    await using box = await ownerBox()
    const a = await worked(box, parts)
    await arePolls(a, 15)
    assert.equal(tenureOf(a)?.statuses()?.[0]?.state, 'live')
    assert.equal(a.workers.length, 1)
  })

test('what is not in the checkpoint yet keeps the user worked for', async () => {
  await using box = await ownerBox()
  let isRefused = false
  const a = await worked(box)
  const { checkpoints } = a
  const write = checkpoints.write.bind(checkpoints)
  checkpoints.write = async (...asked) => {
    if (isRefused) throw new Error('no answer')
    return await write(...asked)
  }
  isRefused = true
  deliver(a, 'new', ['4', '5'])
  await until('it is stored', () => a.workers[0]?.state.stored === TWENTY + 1)
  await arePolls(a, 15)
  assert.notEqual(tenureOf(a)?.statuses() ?? null, null)
  isRefused = false
  await isAtRest(a)
})
