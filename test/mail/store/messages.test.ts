import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as v from 'valibot'
import { EmailReceived, eventId } from '#shared/event.ts'
import { EVENT_MAX_BYTES } from '../../../services/mail/store/event-size.ts'
import { forgetKnown, knownSeq } from '../../../services/mail/store/known.ts'
import { countStored, eventOf, insertFromEvent, knownIds, storeNew } from '../../../services/mail/store/messages.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import {
  allPublishedUpTo,
  deletePublished,
  dueRows,
  markPublished,
  outboxDepth,
} from '../../../services/mail/store/outbox-rows.ts'
import { republish } from '../../../services/mail/store/republish.ts'
import type { UserTx } from '../../../services/mail/store/user-store.ts'
import { ACCOUNT, EPOCH, mail, mails, type StoreBox, storeBox } from './support.ts'

const idOf = (id: string): string => eventId('ada', 'GOOGLE', 'primary', id)
/** What it says of the mails, without the rows themselves. */
const countsOf = ({ stored, events, doubtful }: ReturnType<typeof storeNew>) => [stored, events, doubtful]
const commit = <T>(box: StoreBox, fn: (tx: UserTx) => T): T => box.store.commit('ada', EPOCH, fn)

function adopted(): StoreBox {
  const box = storeBox()
  box.store.adopt('ada', EPOCH)
  return box
}

test('a mail is stored once and gets one outbox row, however often it comes', async () => {
  await using box = adopted()
  const first = commit(box, (tx) => storeNew(tx, ACCOUNT, [mail('a'), mail('b'), mail('a')], 5_500))
  assert.deepEqual(countsOf(first), [2, 2, 0])
  const second = commit(box, (tx) => storeNew(tx, ACCOUNT, [mail('b'), mail('c')], 6_000))
  assert.deepEqual(countsOf(second), [1, 1, 0])
  box.store.read('ada', (db) => {
    assert.equal(countStored(db, ACCOUNT), 3)
    assert.deepEqual(knownIds(db, ACCOUNT, ['a', 'c', 'zz']), new Set(['a', 'c']))
    assert.deepEqual(
      dueRows(db, 10),
      [...first.rows, ...second.rows],
      'the rows that it answers are those that are read',
    )
    assert.deepEqual(
      dueRows(db, 10).map((row) => row.msgId),
      ['a', 'b', 'c'].map(idOf),
    )
    const [row] = dueRows(db, 1)
    assert.ok(row?.intact)
    assert.deepEqual([row.subject, row.tsMs, row.retries], ['user.ada.email.received', 5_500, 0])
    const event = v.parse(v.strictObject(EmailReceived.entries), JSON.parse(row.payload.toString()))
    assert.deepEqual(event, eventOf(db, idOf('a')))
    assert.equal(event.ts, 5)
  })
})

test('the same provider id in two inboxes and of two providers is three mails', async () => {
  await using box = adopted()
  const accounts = [ACCOUNT, { ...ACCOUNT, inboxId: 'work' }, { ...ACCOUNT, provider: 'microsoft' as const }]
  for (const account of accounts) assert.equal(commit(box, (tx) => storeNew(tx, account, [mail('a')], 1)).events, 1)
  for (const account of accounts)
    assert.equal(
      box.store.read('ada', (db) => countStored(db, account)),
      1,
    )
})

test('an event read back from the stream makes its mail known: the provider gives the row no second event', async () => {
  await using box = adopted()
  commit(box, (tx) => storeNew(tx, ACCOUNT, [mail('a')], 1_000))
  const event = box.store.read('ada', (db) => eventOf(db, idOf('a')))
  assert.ok(event !== null)

  await using other = adopted()
  commit(other, (tx) => insertFromEvent(tx, event, 77))
  const result = commit(other, (tx) => storeNew(tx, ACCOUNT, [mail('a'), mail('b')], 2_000))
  assert.deepEqual(countsOf(result), [1, 1, 0])
  other.store.read('ada', (db) => {
    assert.equal(knownSeq(db, idOf('a')), 77)
    assert.deepEqual(eventOf(db, idOf('a')), event)
    assert.deepEqual(
      dueRows(db, 10).map((row) => row.msgId),
      [idOf('b')],
    )
  })
})

test("mail of one user does not get into another user's database", async () => {
  await using box = adopted()
  assert.throws(() => commit(box, (tx) => storeNew(tx, { ...ACCOUNT, userId: 'eve' }, [mail('a')], 1)), /another/)
})

test('an event above the cap is cut in the fixed order, says so and fits', async () => {
  await using box = adopted()
  const long = '\u0000ä😀'.repeat(60_000)
  const cases: [Parameters<typeof mail>[1], string[]][] = [
    [{ headers: { From: 'me', References: long } }, ['headers']],
    [{ headers: { From: 'me', References: long }, snippet: long }, ['headers', 'snippet']],
    [
      { to: Array.from({ length: 20_000 }, (_, i) => `person-${i}@example.com`), snippet: long },
      ['snippet', 'to_addrs'],
    ],
    [
      { subject: long, sender: long, labels: [long, long], cc: [long], bcc: [long], to: [long], snippet: long },
      ['snippet', 'to_addrs', 'cc_addrs', 'bcc_addrs', 'labels', 'subject', 'sender'],
    ],
  ]
  for (const [i, [fields, truncated]] of cases.entries()) {
    commit(box, (tx) => storeNew(tx, ACCOUNT, [mail(`m${i}`, fields)], 1))
    const event = box.store.read('ada', (db) => eventOf(db, idOf(`m${i}`)))
    assert.deepEqual(event?.truncated, truncated)
    assert.ok(Buffer.byteLength(JSON.stringify(event)) <= EVENT_MAX_BYTES)
    for (const text of [event?.subject, event?.snippet, event?.sender]) assert.ok(text?.isWellFormed())
  }
  const first = box.store.read('ada', (db) => eventOf(db, idOf('m0')))
  assert.equal(first?.headers.From, 'me', 'short values stay whole')
  commit(box, (tx) => storeNew(tx, ACCOUNT, [mail('short')], 1))
  assert.equal(box.store.read('ada', (db) => eventOf(db, idOf('short')))?.truncated, undefined)
})

test('marking moves the outbox, the ledger and the last sequence together', async () => {
  await using box = adopted()
  commit(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 3), 4_000))
  const rows = box.store.read('ada', (db) => dueRows(db, 2))
  assert.deepEqual(
    box.store.read('ada', (db) => outboxDepth(db)),
    { pending: 3, oldestTsMs: 4_000, lastId: 3 },
  )
  const marks = rows.map(({ id, msgId }, i) => ({ id, msgId, seq: 10 + i }))
  commit(box, (tx) => markPublished(tx, marks, { seq: 11, eventId: idOf('m0001') }, 9_000))
  box.store.read('ada', (db) => {
    assert.deepEqual([readMeta(db)?.lastSeq, readMeta(db)?.lastEventId], [11, idOf('m0001')])
    assert.deepEqual([knownSeq(db, idOf('m0000')), knownSeq(db, idOf('m0002'))], [10, 0])
    assert.equal(outboxDepth(db).pending, 1)
    assert.deepEqual(
      [1, 2, 3].map((id) => allPublishedUpTo(db, id)),
      [true, true, false],
    )
  })
})

test('of many rows that are marked at once each gets its own sequence, in the outbox and in the ledger', async () => {
  await using box = adopted()
  commit(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 4), 4_000))
  // One of them is not in the ledger, as after a loss of the stream.
  commit(box, (tx) => forgetKnown(tx, idOf('m0002')))
  const [first, , third, fourth] = box.store.read('ada', (db) => dueRows(db, 4))
  assert.ok(first && third && fourth)
  const marks = [
    { ...third, seq: 2 ** 40 },
    { ...first, seq: 7 },
    { ...fourth, seq: 9 },
  ]
  commit(box, (tx) => {
    markPublished(tx, marks, { seq: 9, eventId: fourth.msgId }, 9_500)
    assert.deepEqual(tx.db.values('SELECT stream_seq, published_at FROM outbox ORDER BY id'), [
      [7, 9],
      [null, null],
      [2 ** 40, 9],
      [9, 9],
    ])
    assert.deepEqual(
      ['m0000', 'm0001', 'm0002', 'm0003'].map((id) => knownSeq(tx, idOf(id))),
      [7, 0, 2 ** 40, 9],
    )
  })
})

test('published rows are deleted after their time, waiting ones never, ids are not used twice', async () => {
  await using box = adopted()
  commit(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 3), 4_000))
  const rows = box.store.read('ada', (db) => dueRows(db, 2))
  const marks = rows.map(({ id, msgId }) => ({ id, msgId, seq: id }))
  commit(box, (tx) => markPublished(tx, marks, { seq: 2, eventId: null }, 9_000))
  assert.equal(
    commit(box, (tx) => deletePublished(tx, 9_000)),
    0,
  )
  assert.equal(
    commit(box, (tx) => deletePublished(tx, 10_000, 1)),
    1,
  )
  assert.equal(
    commit(box, (tx) => deletePublished(tx, 10_000)),
    1,
  )
  const left = box.store.read('ada', (db) => dueRows(db, 10).map((row) => row.id))
  assert.deepEqual(left, [3])
})

test('publishing again uses the kept row, or rebuilds the event from the mail, before everything that waits', async () => {
  await using box = adopted()
  commit(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 3), 4_000))
  const rows = box.store.read('ada', (db) => dueRows(db, 3))
  const marks = rows.map(({ id, msgId }) => ({ id, msgId, seq: id }))
  commit(box, (tx) => markPublished(tx, marks, { seq: 3, eventId: null }, 9_000))
  commit(box, (tx) => deletePublished(tx, 10_000, 1))
  commit(box, (tx) => storeNew(tx, ACCOUNT, [mail('waits')], 11_000))
  const again = [idOf('never seen'), idOf('m0001'), idOf('m0000')]
  assert.equal(
    commit(box, (tx) => republish(tx, again, 12_000)),
    2,
  )
  assert.equal(
    commit(box, (tx) => republish(tx, again, 12_000)),
    2,
  )
  const due = box.store.read('ada', (db) => dueRows(db, 10))
  assert.deepEqual(
    due.map((row) => row.msgId),
    ['m0000', 'm0001', 'waits'].map(idOf),
  )
  assert.ok(due.every((row) => row.intact))
  assert.deepEqual(JSON.parse(String(due[0]?.payload)), JSON.parse(String(rows[0]?.payload)))
})

test('a payload that the disk changed is noticed', async () => {
  await using box = adopted()
  commit(box, (tx) => storeNew(tx, ACCOUNT, [mail('a')], 1))
  commit(box, (tx) => tx.db.run("UPDATE outbox SET payload = CAST(replace(payload, 'Hello', 'Jello') AS BLOB)"))
  assert.equal(box.store.read('ada', (db) => dueRows(db, 1))[0]?.intact, false)
})
