/** A worker against a scripted provider and a real store: what it asks, what it commits, what ends it. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import SqliteDatabase from 'better-sqlite3'
import { createLog } from '#shared/log.ts'
import { type Page, type PageRequest, ProviderError } from '../../../services/mail/provider/provider.ts'
import { sql } from '../../../services/mail/store/drizzle.ts'
import { outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import { StaleEpochError } from '../../../services/mail/store/user-store.ts'
import { GrantError } from '../../../services/mail/token/grant-error.ts'
import { KeyUnavailableError } from '../../../services/mail/token/seal.ts'
import { ACCOUNT, EPOCH, mail } from '../store/support.ts'
import { WorkerBox } from './worker-box.ts'

const USER = ACCOUNT.userId
const TOTAL = 23

/** A small mailbox as Gmail would tell it: a baseline, ids in pages of five, messages by tens. */
function smallMailbox({ lane, cursor, take, known, queued }: PageRequest): Partial<Page> {
  if (lane === 'history')
    return cursor === null
      ? {
          lanes: [
            { lane: 'history', cursor: 'h1', done: true },
            { lane: 'enum', cursor: null, done: false },
            { lane: 'drain', cursor: null, done: true },
          ],
          syncCursor: 'h1',
        }
      : { enqueue: { ids: [...known([])], urgent: true }, lanes: [{ lane: 'history', cursor, done: true }] }
  if (lane === 'drain') return { messages: take.map((id) => mail(id)) }
  const from = Number(cursor ?? 0)
  const ids = Array.from({ length: Math.min(5, TOTAL - from) }, (_, i) => `m${from + i}`)
  const seen = new Set([...known(ids), ...queued(ids)])
  const done = from + 5 >= TOTAL
  return {
    enqueue: { ids: ids.filter((id) => !seen.has(id)), urgent: false },
    lanes: [{ lane: 'enum', cursor: done ? null : String(from + 5), done }],
    more: !done,
  }
}

test('a mailbox is listed, fetched and then polled at each interval, and an idle poll writes nothing', async () => {
  await using box = new WorkerBox()
  box.provider.answer = smallMailbox
  const { worker, end } = box.start()
  await box.clock.advance(10_000)
  assert.deepEqual(box.facts(), { stored: TOTAL, events: TOTAL, queued: 0, status: 'LIVE', cursor: 'h1' })
  const db = new SqliteDatabase(box.store.fileOf(USER), { readonly: true })
  const version = () => db.pragma('data_version', { simple: true })
  const [before, polls] = [version(), box.of('history').length]
  await box.clock.advance(90_000)
  assert.deepEqual([version(), box.of('history').length], [before, polls + 3])
  assert.ok(box.of('history').every(({ priority, cursor }) => (priority === 'incremental') === (cursor !== null)))
  db.close()
  assert.equal(worker.state.stored, TOTAL)
  await end()
})

test('a poll that finds nothing opens no database', async () => {
  await using box = new WorkerBox()
  box.provider.answer = smallMailbox
  const { end } = box.start()
  await box.clock.advance(10_000)
  const isOpen = (): boolean => existsSync(`${box.store.fileOf(USER)}-shm`)
  assert.equal(isOpen(), true)
  box.store.release(USER)
  const polls = box.of('history').length
  await box.clock.advance(90_000)
  assert.deepEqual([box.of('history').length, isOpen()], [polls + 3, false])
  await end()
})

test('a worker that dies in the middle of any page loses nothing and stores nothing twice', async () => {
  await using box = new WorkerBox()
  for (let page = 1; page <= 12; page++) {
    let asked = 0
    box.provider.answer = (request) => {
      asked += 1
      return asked === page ? new Promise(() => undefined) : smallMailbox(request)
    }
    const { worker } = box.start()
    await box.clock.advance(100)
    // Whatever still comes after this finds the signal aborted, as it would find no process.
    box.stops.at(-1)?.abort(new Error('killed'))
    assert.equal(worker.state.stored, box.facts().stored, `killed in page ${page}`)
  }
  box.provider.answer = smallMailbox
  const { end } = box.start()
  await box.clock.advance(60_000)
  assert.deepEqual(box.facts(), { stored: TOTAL, events: TOTAL, queued: 0, status: 'LIVE', cursor: 'h1' })
  await end()
})

test('a page that arrives after its lane was started over is void', async () => {
  await using box = new WorkerBox()
  const late = Promise.withResolvers<Partial<Page>>()
  let polls = 0
  box.provider.answer = (request) => {
    if (request.lane === 'enum' && request.cursor === '5' && polls === 0) return late.promise
    if (request.lane === 'history' && request.cursor === 'h1' && polls++ === 0)
      throw new ProviderError('gone', { operation: 'history' })
    return smallMailbox(request)
  }
  const { end } = box.start()
  await box.clock.advance(31_000)
  late.resolve({
    lanes: [{ lane: 'enum', cursor: 'far ahead', done: true }],
    enqueue: { ids: ['stray'], urgent: false },
  })
  await box.clock.advance(60_000)
  assert.equal(
    box.provider.asked.some(({ take, cursor }) => take.includes('stray') || cursor === 'far ahead'),
    false,
  )
  assert.deepEqual([box.facts().stored, box.facts().events], [TOTAL, TOTAL])
  await end()
})

test('a later epoch in the database ends the worker, and nothing of it is written', async () => {
  await using box = new WorkerBox()
  box.provider.answer = (request) => {
    if (request.lane === 'enum') box.store.adopt(USER, { ...EPOCH, rev: EPOCH.rev + 1 })
    return smallMailbox(request)
  }
  const { done } = box.start()
  await box.clock.advance(1_000)
  await assert.rejects(done, StaleEpochError)
  assert.deepEqual([box.facts().stored, box.facts().queued], [0, 0])
})

test('without the term nothing is asked and what comes is not committed', async () => {
  await using box = new WorkerBox()
  box.provider.answer = (request) => {
    if (request.lane === 'enum') box.owns = false
    return smallMailbox(request)
  }
  const { end } = box.start()
  await box.clock.advance(60_000)
  assert.deepEqual([box.of('enum').length, box.facts().queued], [1, 0])
  box.owns = true
  box.provider.answer = smallMailbox
  await box.clock.advance(10_000)
  assert.equal(box.facts().stored, TOTAL)
  await end()
})

test('an access token that is refused is refreshed once; refused again the user must sign in', async () => {
  await using box = new WorkerBox()
  let good = 'token-2'
  box.provider.answer = (request, { accessToken }) => {
    if (accessToken.reveal() !== good) throw new ProviderError('auth', { operation: 'page', status: 401 })
    return smallMailbox(request)
  }
  const { worker, done } = box.start()
  await box.clock.advance(1_000)
  assert.deepEqual(box.refreshes, ['token-1'])
  assert.equal(box.facts().stored, TOTAL)
  good = 'none'
  await box.clock.advance(30_000)
  await done
  assert.deepEqual([box.refreshes, box.marked], [['token-1', 'token-2'], ['AUTH_EXPIRED']])
  assert.deepEqual([worker.state.ended, box.facts().status], ['needs_reauth', 'NEEDS_REAUTH'])
})

test('a grant that was withdrawn ends the worker, an unknown key pauses it', async () => {
  for (const [error, status, marked] of [
    [new GrantError('reauth', 'google', { operation: 'refresh', code: 'invalid_grant' }), 'NEEDS_REAUTH', 1],
    [new KeyUnavailableError('k9'), 'PAUSED', 0],
  ] as const) {
    await using box = new WorkerBox()
    const { done } = box.start({ tokens: { accessToken: () => Promise.reject(error) } })
    await box.clock.advance(100)
    await done
    assert.deepEqual([box.facts().status, box.marked.length, box.provider.asked.length], [status, marked, 0])
  }
})

test('an account is bound before its first page; a foreign mailbox is never read', async () => {
  await using box = new WorkerBox()
  box.provider.answer = smallMailbox
  const asked: string[] = []
  const bound = { mailbox: null, address: null }
  const right = box.start({ bound, bind: async ({ mailbox }) => asked.push(mailbox) > 0 })
  await box.clock.advance(1_000)
  assert.deepEqual([asked, right.worker.state.address, box.facts().stored], [['ada@x'], 'ada@x', TOTAL])
  await right.end()
  const pages = box.provider.asked.length
  const wrong = box.start({ bound, bind: async () => false })
  await box.clock.advance(60_000)
  await wrong.done
  assert.deepEqual([box.marked, box.provider.asked.length], [['WRONG_MAILBOX'], pages])
})

test('throttling is kept to across a restart', async () => {
  await using box = new WorkerBox()
  let throttled = 0
  box.provider.answer = (request) => {
    if (request.lane === 'enum' && throttled++ === 0)
      throw new ProviderError('throttled', { operation: 'list', retryAfterMs: 300_000 })
    return smallMailbox(request)
  }
  const first = box.start()
  await box.clock.advance(60_000)
  assert.equal(box.facts().status, 'THROTTLED')
  await first.end()
  const before = box.provider.asked.length
  const second = box.start()
  await box.clock.advance(239_000)
  assert.equal(box.provider.asked.length, before)
  assert.equal(second.worker.state.throttledUntilMs > box.clock.wallMs(), true)
  await box.clock.advance(120_000)
  assert.equal(box.facts().stored, TOTAL)
  await second.end()
})

test('part of a page may be throttled: what came counts, the rest is fetched after the wait', async () => {
  await using box = new WorkerBox()
  let times = 0
  box.provider.answer = (request) => {
    const page = smallMailbox(request)
    if (request.lane !== 'drain' || times++ > 0) return page
    const cutOff = new ProviderError('throttled', { operation: 'get', retryAfterMs: 60_000 })
    return { messages: (page.messages ?? []).slice(0, 2), cutOff }
  }
  const { end } = box.start()
  await box.clock.advance(30_000)
  assert.deepEqual([box.facts().stored, box.facts().queued], [2, TOTAL - 2])
  await box.clock.advance(60_000)
  assert.deepEqual([box.facts().stored, box.facts().queued], [TOTAL, 0])
  await end()
})

test('a disk that refuses is tried again every two seconds, and the worker lives', async () => {
  await using box = new WorkerBox()
  box.provider.answer = smallMailbox
  const { worker, end } = box.start()
  // The pages that this database has are all that it may have.
  const room = (pages: number): void =>
    box.store.commit(USER, EPOCH, (tx) => void tx.db.get(sql.raw(`PRAGMA max_page_count = ${pages}`)))
  room(1)
  await box.clock.advance(10_000)
  assert.ok(box.facts().stored < TOTAL, 'the control: there was no room')
  assert.deepEqual([worker.state.fault?.code, worker.state.stored], ['DISK_FULL', box.facts().stored])
  room(100_000)
  await box.clock.advance(10_000)
  assert.deepEqual([box.facts().stored, box.facts().events, worker.state.fault], [TOTAL, TOTAL, null])
  await end()
})

test('a fault that stays for hours is told less and less often', async () => {
  await using box = new WorkerBox()
  box.provider.answer = smallMailbox
  const told: string[] = []
  const tell = (_facts: unknown, text: string): void => void told.push(text)
  const log = Object.assign(createLog('test', 'silent'), { warn: tell, error: tell })
  const { end } = box.start({ log })
  box.store.commit(USER, EPOCH, (tx) => void tx.db.get(sql.raw('PRAGMA max_page_count = 1')))
  const failed = (): number => told.filter((text) => text === 'a page failed').length
  await box.clock.advance(60_000)
  assert.ok(failed() > 0)
  const before = failed()
  // 1,800 tries of each lane.
  await box.clock.advance(3_600_000)
  assert.ok(failed() - before <= 20, `told ${failed()} times`)
  await end()
})

test('what stops a worker stops the call that is under way', async () => {
  await using box = new WorkerBox()
  let aborted = false
  box.provider.answer = (_request, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        aborted = true
        reject(signal.reason)
      })
    })
  const { end } = box.start()
  await box.clock.advance(100)
  await end()
  assert.deepEqual([aborted, box.clock.sleeping, box.facts().status], [true, 0, null])
})

test('an outbox row stands behind every stored mail', async () => {
  await using box = new WorkerBox()
  box.provider.answer = smallMailbox
  const hints: boolean[] = []
  const { end } = box.start({ committed: (cursorOnly) => void hints.push(cursorOnly) })
  await box.clock.advance(5_000)
  assert.equal(
    box.store.read(USER, (db) => outboxDepth(db).lastId),
    TOTAL,
  )
  assert.equal(hints.filter((cursorOnly) => !cursorOnly).length, 3, 'a hint to the relay for each page with mail')
  await end()
})
