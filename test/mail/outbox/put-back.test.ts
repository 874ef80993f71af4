/** Putting back what a stream has lost: in order, in small transactions that find their rows by index, and after a crash. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { systemClock } from '../../../services/mail/base/time.ts'
import { startNewStream } from '../../../services/mail/outbox/lost-stream.ts'
import { knownSeq } from '../../../services/mail/store/known.ts'
import { eventOf, storeNew } from '../../../services/mail/store/messages.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import {
  deletePublished,
  dueRows,
  markPublished,
  outboxDepth,
  pendingRowOf,
} from '../../../services/mail/store/outbox-rows.ts'
import type { UserReader, UserTx } from '../../../services/mail/store/user-store.ts'
import { ACCOUNT, EPOCH, mails, type StoreBox, storeBox } from '../store/support.ts'

const DEPS = { clock: systemClock, onNewStream: 'republish', retentionMs: 86_400_000 } as const
const NEW_STREAM_MS = 5
const NEVER = AbortSignal.any([])
const { userId } = ACCOUNT

type Client = { prepare(text: string): { pluck(): { get(): unknown }; all(...values: null[]): { detail: string }[] } }
const clientOf = ({ db }: UserReader): Client => Reflect.get(db, '$client')

const commit = <T>(box: StoreBox, fn: (tx: UserTx) => T): T => box.store.commit(userId, EPOCH, fn)
const waiting = (box: StoreBox): string[] =>
  box.store.read(userId, (db) => dueRows(db, 10_000).map((row) => eventOf(db, row.msgId)?.provider_message_id ?? '?'))
const idsOf = (...pages: [string, number][]): string[] =>
  pages.flatMap(([prefix, n]) => mails(prefix, n).map(({ id }) => id))

let lastSeq = 0
/** Mail that is on the stream; `gone`: its rows have been deleted meanwhile. */
function published(box: StoreBox, prefix: string, n: number, gone = false): void {
  commit(box, (tx) => {
    storeNew(tx, ACCOUNT, mails(prefix, n), Date.now())
    const rows = dueRows(tx, n).map(({ id, msgId }) => ({ id, msgId, seq: ++lastSeq }))
    markPublished(tx, rows, { seq: lastSeq, eventId: rows.at(-1)?.msgId ?? null }, 1_000)
    if (gone) deletePublished(tx, Date.now(), n)
  })
}

/** 700 mails without a row, 300 with one, and 50 that wait. */
function history(): StoreBox {
  const box = storeBox()
  box.store.adopt(userId, EPOCH)
  published(box, 'old', 700, true)
  published(box, 'mid', 300)
  commit(box, (tx) => storeNew(tx, ACCOUNT, mails('new', 50), Date.now()))
  return box
}
const HISTORY = idsOf(['old', 700], ['mid', 300], ['new', 50])

test('mail leaves in the order of storing, whether its row was kept or is rebuilt, and waiting mail behind it', async () => {
  await using box = history()
  assert.equal(await startNewStream((fn) => commit(box, fn), NEW_STREAM_MS, DEPS, NEVER), 1_000)
  assert.deepEqual(waiting(box), HISTORY)
  assert.ok(box.store.read(userId, (db) => dueRows(db, 2_000)).every((row) => row.intact))
  const rows = box.store.read(userId, (db) => clientOf(db).prepare('SELECT count(*) FROM outbox').pluck().get())
  assert.equal(rows, HISTORY.length, 'a row that was kept is used')
})

test('each transaction is small, and others get their turn in between', async () => {
  await using box = history()
  const changes: number[] = []
  const counted = <T>(fn: (tx: UserTx) => T): T =>
    commit(box, (tx) => {
      const total = clientOf(tx).prepare('SELECT total_changes()').pluck()
      const before = Number(total.get())
      const result = fn(tx)
      changes.push(Number(total.get()) - before)
      return result
    })
  const walk = startNewStream(counted, NEW_STREAM_MS, DEPS, NEVER)
  const atTurn: number[] = []
  for (let over = false; !over; await turn()) {
    atTurn.push(changes.length)
    over = !box.store.read(userId, (db) => readMeta(db)?.repairing ?? false)
    if (atTurn.length === 2) commit(box, (tx) => storeNew(tx, ACCOUNT, mails('worker', 1), Date.now()))
  }
  await walk
  assert.ok(Math.max(...changes) <= 1_000, `rows changed per transaction: ${changes}`)
  assert.ok(new Set(atTurn).size >= 5, `transactions done at each turn: ${atTurn}`)
  assert.deepEqual(waiting(box), [...HISTORY, ...idsOf(['worker', 1])])
})

test('after a crash in the middle the walk goes on: the new stream counts as seen only when all is put back', async () => {
  await using box = history()
  let left = 4
  const dying = <T>(fn: (tx: UserTx) => T): T => {
    if (left-- === 0) throw new Error('the process dies')
    return commit(box, fn)
  }
  await assert.rejects(startNewStream(dying, NEW_STREAM_MS, DEPS, NEVER), /dies/)
  const half = box.store.read(userId, (db) => ({ ...readMeta(db), pending: outboxDepth(db).pending }))
  assert.deepEqual([half.streamCreatedMs, half.repairing, half.lastSeq], [null, true, lastSeq])
  assert.ok(half.pending > 50 && half.pending < HISTORY.length, `${half.pending} wait`)

  assert.equal(await startNewStream((fn) => commit(box, fn), NEW_STREAM_MS, DEPS, NEVER), HISTORY.length - half.pending)
  assert.deepEqual(waiting(box), HISTORY)
  const after = box.store.read(userId, readMeta)
  assert.deepEqual([after?.streamCreatedMs, after?.repairing, after?.lastSeq], [NEW_STREAM_MS, false, 0])
})

test('a walk that is told to stop, stops between two transactions', async () => {
  await using box = history()
  const stop = new AbortController()
  const stopping = <T>(fn: (tx: UserTx) => T): T => {
    stop.abort(new Error('lost'))
    return commit(box, fn)
  }
  await assert.rejects(startNewStream(stopping, NEW_STREAM_MS, DEPS, stop.signal), /lost/)
  assert.equal(waiting(box).length, 50)
})

test('with `skip` nothing is put back, and all sequences of the old stream are forgotten', async () => {
  await using box = history()
  assert.equal(await startNewStream((fn) => commit(box, fn), NEW_STREAM_MS, { ...DEPS, onNewStream: 'skip' }, NEVER), 0)
  assert.deepEqual(waiting(box), idsOf(['new', 50]))
  box.store.read(userId, (db) => {
    const left = clientOf(db).prepare('SELECT count(*) FROM known WHERE seq > 0').pluck().get()
    assert.deepEqual([left, knownSeq(db, dueRows(db, 1)[0]?.msgId ?? '')], [0, 0])
  })
})

test('no statement of the walk reads a whole table or sorts', async () => {
  await using box = history()
  // Statements are prepared at their first use: behind a new handle all of them are.
  box.store.release(userId)
  const texts = new Set<string>()
  const client = commit(box, clientOf)
  const { prepare } = client
  client.prepare = (text) => {
    texts.add(text)
    return prepare.call(client, text)
  }
  await startNewStream((fn) => commit(box, fn), NEW_STREAM_MS, DEPS, NEVER)
  commit(box, (tx) => pendingRowOf(tx, 'any'))
  client.prepare = prepare
  const plans = [...texts].map((text) => {
    const values = Array.from(text.matchAll(/\?/g), () => null)
    return {
      text,
      steps: client
        .prepare(`EXPLAIN QUERY PLAN ${text}`)
        .all(...values)
        .map(({ detail }) => detail),
    }
  })
  const all = plans.flatMap(({ steps }) => steps).join('\n')
  for (const index of ['known_by_seq', 'outbox_by_stream_seq']) assert.match(all, new RegExp(index))
  for (const { text, steps } of plans)
    for (const step of steps) assert.doesNotMatch(step, /^SCAN (?!meta)|TEMP B-TREE/, text)
})
