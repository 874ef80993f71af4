/** The ledger names the outbox row in which an event waits: always, the right one, and in files of the version before. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type SqliteDatabase from 'better-sqlite3'
import { eventId } from '#shared/event.ts'
import { decodeEntries } from '../../../services/mail/outbox/ledger-format.ts'
import { knownSeq } from '../../../services/mail/store/known.ts'
import { ledgerPage, takeOverEntries } from '../../../services/mail/store/ledger.ts'
import { eventOf, insertFromEvent, storeNew } from '../../../services/mail/store/messages.ts'
import {
  deletePublished,
  dueRows,
  markPublished,
  outboxDepth,
  pendingRowOf,
} from '../../../services/mail/store/outbox-rows.ts'
import { republish } from '../../../services/mail/store/republish.ts'
import type { UserTx } from '../../../services/mail/store/user-store.ts'
import { ACCOUNT, EPOCH, mails, misnamedMails, misnamedRows, olderFile, type StoreBox, storeBox } from './support.ts'

const { userId } = ACCOUNT
const NAMED_SINCE = 6
const idOf = (mail: string): string => eventId(userId, 'GOOGLE', 'primary', mail)
const IDS = mails('m', 6).map(({ id }) => idOf(id))
const last = { seq: 9, eventId: null }

/** Runs it in a transaction, and answers the row in which each event waits. */
function after(box: StoreBox, fn: (tx: UserTx) => unknown): (number | null)[] {
  box.store.commit(userId, EPOCH, fn)
  return box.store.read(userId, (db) => {
    assert.deepEqual([misnamedRows(db), misnamedMails(db)], [[], []])
    return IDS.map((id) => pendingRowOf(db, id))
  })
}
const mark = (tx: UserTx, seqs: Record<number, number>): void =>
  markPublished(
    tx,
    dueRows(tx, 10).flatMap(({ id, msgId }) => (seqs[id] === undefined ? [] : [{ id, msgId, seq: seqs[id] }])),
    last,
    1_000,
  )

test('the row in which an event waits is found by its id through all that happens to it', async () => {
  await using box = storeBox()
  box.store.adopt(userId, EPOCH)
  const doubtful = ({ id }: { id: string }): boolean => id === 'm0005'
  assert.deepEqual(
    after(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 6), 1, doubtful)),
    [1, 2, 3, 4, 5, null],
  )
  assert.deepEqual(
    after(box, (tx) => mark(tx, { 1: 7, 2: 8, 3: 9 })),
    [null, null, null, 4, 5, null],
  )
  const named = [IDS[2] ?? '', IDS[1] ?? '', IDS[0] ?? '']
  assert.deepEqual(
    after(box, (tx) => republish(tx, named, 1)),
    [-2, -1, 0, 4, 5, null],
    'their own rows, moved',
  )
  assert.deepEqual(
    after(box, (tx) => republish(tx, [IDS[4] ?? ''], 1)),
    [-2, -1, 0, 4, -3, null],
    'also one that waits',
  )
  const read = box.store.read(userId, (db) => eventOf(db, IDS[3] ?? ''))
  assert.ok(read !== null)
  assert.deepEqual(
    after(box, (tx) => insertFromEvent(tx, read, 20)),
    [-2, -1, 0, 4, -3, null],
    'not marked yet',
  )
  assert.deepEqual(
    after(box, (tx) => mark(tx, { 4: 20, [-3]: 21 })),
    [-2, -1, 0, null, null, null],
  )
  const entries = [0, 21].map((seq, i) => ({ id: Buffer.from(IDS[i]?.replaceAll('-', '') ?? '', 'hex'), seq }))
  assert.deepEqual(
    after(box, (tx) => takeOverEntries(tx, entries, last, 1)),
    [null, null, 0, null, null, null],
  )
  assert.deepEqual(
    after(box, (tx) => mark(tx, { 0: 22 })),
    IDS.map(() => null),
  )
  assert.equal(
    box.store.commit(userId, EPOCH, (tx) => deletePublished(tx, Date.now())),
    5,
  )
  assert.deepEqual(
    after(box, (tx) => republish(tx, IDS.slice(0, 2), 1)),
    [-1, -2, null, null, null, null],
    'made anew',
  )
  after(box, (tx) => storeNew(tx, ACCOUNT, mails('n', 1), 1))
  assert.equal(box.store.read(userId, outboxDepth).lastId, 6, 'no number is given twice')
})

test('a row that the ledger names for another event is not taken for its own', async () => {
  await using box = storeBox()
  box.store.adopt(userId, EPOCH)
  after(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 2), 1))
  box.store.commit(userId, EPOCH, ({ db }) => db.run('UPDATE known SET waits = 2 WHERE waits = 1'))
  box.store.read(userId, (db) => {
    assert.deepEqual(misnamedRows(db), [1, 2])
    assert.deepEqual([pendingRowOf(db, IDS[0] ?? ''), pendingRowOf(db, IDS[1] ?? '')], [null, 2])
  })
})

/** The database of a version that found waiting rows by an index: m0000 is published, m0001 waits, m0002 was put back. */
function fillOlder(sqlite: SqliteDatabase.Database): void {
  const known = sqlite.prepare("INSERT INTO known VALUES (unhex(?, '-'), ?)")
  const row = sqlite.prepare(
    "INSERT INTO outbox (id, ts, subject, event_type, payload, msg_id, published_at, ts_ms, stream_seq, sha256) VALUES (?, 1, 's', 't', x'', ?, ?, 1, ?, x'')",
  )
  const rows = [
    [7, 100, 31],
    [8, null, null],
    [-1, null, null],
  ] as const
  rows.forEach(([id, at, seq], i) => {
    known.run(IDS[i], seq ?? 0)
    row.run(id, IDS[i], at, seq)
  })
}

test('a file of the version before is taken over: what waits in it is named, and nothing else', async () => {
  await using box = storeBox()
  olderFile(box, NAMED_SINCE, fillOlder)
  assert.deepEqual(
    after(box, () => undefined),
    [null, 8, -1, null, null, null],
  )
  box.store.read(userId, (db) => {
    const entries = decodeEntries(ledgerPage(db, 0, 10).bytes)
    assert.deepEqual(
      entries.map(({ seq }) => seq),
      [31],
      'what waits does not leave',
    )
    assert.equal(knownSeq(db, IDS[1] ?? ''), 0)
  })
  assert.deepEqual(
    after(box, (tx) => mark(tx, { [-1]: 32, 8: 33 })),
    IDS.map(() => null),
  )
  after(box, (tx) => storeNew(tx, ACCOUNT, mails('n', 1), 1))
  assert.equal(box.store.read(userId, outboxDepth).lastId, 9)
})
