/** The ledger names the row of a mail: always, the right one, in files of the version before, and without an index of event ids. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import SqliteDatabase from 'better-sqlite3'
import { eventId } from '#shared/event.ts'
import { countListed } from '../../../services/mail/store/audits.ts'
import { knownSeq } from '../../../services/mail/store/known.ts'
import { takeOverEntries } from '../../../services/mail/store/ledger.ts'
import { mailRowOf } from '../../../services/mail/store/mail-row.ts'
import {
  eventOf,
  insertFromEvent,
  isMailOf,
  storedTs,
  storeNew,
  toEvent,
} from '../../../services/mail/store/messages.ts'
import { outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import type { UserReader, UserTx } from '../../../services/mail/store/user-store.ts'
import { ACCOUNT, EPOCH, mail, mails, misnamedMails, olderFile, type StoreBox, storeBox } from './support.ts'

const { userId } = ACCOUNT
const NAMED_SINCE = 8
const last = { seq: 9, eventId: null }
const idOf = (id: string): string => eventId(userId, 'GOOGLE', 'primary', id)
const bytesOf = (id: string): Buffer => Buffer.from(idOf(id).replaceAll('-', ''), 'hex')
const read = <T>(box: StoreBox, fn: (db: UserReader) => T): T => box.store.read(userId, fn)
const write = <T>(box: StoreBox, fn: (tx: UserTx) => T): T => box.store.commit(userId, EPOCH, fn)
const rowsOf = (box: StoreBox, ...ids: string[]): (number | null)[] =>
  read(box, (db) => ids.map((id) => mailRowOf(db, idOf(id))))

function adopted(): StoreBox {
  const box = storeBox()
  box.store.adopt(userId, EPOCH)
  return box
}

/** As somebody would who writes to the file, which nobody should. */
function byHand<T>(box: StoreBox, fn: (sqlite: SqliteDatabase.Database) => T): T {
  box.store.release(userId)
  const sqlite = new SqliteDatabase(box.store.fileOf(userId))
  try {
    return fn(sqlite)
  } finally {
    sqlite.close()
  }
}

test('the mail of an event is found whichever of the two was there first', async () => {
  await using box = adopted()
  const event = toEvent(ACCOUNT, mail('read-back'), 7)
  write(box, (tx) => {
    storeNew(tx, ACCOUNT, mails('m', 2), 1)
    const entries = ['n0001', 'n0000'].map((id, i) => ({ id: bytesOf(id), seq: i }))
    takeOverEntries(tx, entries, last, 1)
    insertFromEvent(tx, event, 12)
  })
  assert.deepEqual(rowsOf(box, 'm0000', 'm0001', 'n0000', 'n0001', 'read-back', 'never'), [1, 2, null, null, 3, null])
  write(box, (tx) => {
    storeNew(tx, ACCOUNT, mails('n', 2), 1)
    insertFromEvent(tx, event, 13)
    insertFromEvent(tx, toEvent(ACCOUNT, mail('n0000'), 1), 14)
  })
  assert.deepEqual(rowsOf(box, 'm0000', 'm0001', 'n0000', 'n0001', 'read-back'), [1, 2, 4, 5, 3])
  read(box, (db) => {
    assert.deepEqual(misnamedMails(db), [])
    assert.deepEqual(eventOf(db, event.event_id), event)
    assert.deepEqual([storedTs(db, event.event_id), storedTs(db, idOf('never'))], [7, null])
    const other = { ...ACCOUNT, inboxId: 'other' }
    assert.deepEqual(
      [ACCOUNT, other].map((account) => isMailOf(db, account, event.event_id)),
      [true, false],
    )
  })
})

test('a mail that the ledger misses or names wrongly is found all the same, and no other in its place', async () => {
  await using box = adopted()
  write(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 3), 1))
  byHand(box, (sqlite) => {
    sqlite.exec('UPDATE known SET mail = 3 - mail WHERE mail < 3')
    sqlite.prepare('DELETE FROM known WHERE event_id = ?').run(bytesOf('m0002'))
  })
  read(box, (db) => assert.deepEqual(misnamedMails(db), [1, 2, 3]))
  assert.deepEqual(rowsOf(box, 'm0000', 'm0001', 'm0002'), [1, 2, 3])
})

test('a mail that was deleted by hand and comes again has its new row, and no second event', async () => {
  await using box = adopted()
  write(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 2), 1))
  byHand(box, (sqlite) => sqlite.exec('DELETE FROM email_received_events'))
  assert.deepEqual(rowsOf(box, 'm0000', 'm0001'), [null, null])
  const { stored, events } = write(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 2).toReversed(), 1))
  assert.deepEqual([stored, events, read(box, outboxDepth).pending], [2, 0, 2])
  assert.deepEqual(rowsOf(box, 'm0000', 'm0001'), [2, 1])
  read(box, (db) => assert.deepEqual(misnamedMails(db), []))
})

test('the database itself refuses a second row of a mail and a second entry of an event', async () => {
  await using box = adopted()
  write(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 1), 1))
  byHand(box, (sqlite) => {
    for (const table of ['email_received_events', 'known'])
      assert.throws(() => sqlite.exec(`INSERT INTO ${table} SELECT * FROM ${table}`), /UNIQUE constraint failed/)
  })
})

test('VACUUM leaves the rows of mails their numbers', async () => {
  await using box = adopted()
  write(box, (tx) => storeNew(tx, ACCOUNT, mails('m', 300), 1))
  byHand(box, (sqlite) => sqlite.exec('DELETE FROM email_received_events WHERE rowid % 3 = 0; VACUUM'))
  assert.deepEqual(rowsOf(box, 'm0000', 'm0002', 'm0298'), [1, null, 299])
})

/** Entries in another order than mails, one without a mail, and rows of mails with gaps. */
function fillOlder(sqlite: SqliteDatabase.Database): void {
  const row = sqlite.prepare(
    `INSERT INTO email_received_events (rowid, event_id, ts, provider, inbox_id, user_id, provider_message_id)
     VALUES (?, ?, 5, 'GOOGLE', 'primary', '${userId}', ?)`,
  )
  for (let i = 0; i < 300; i++) row.run(2 * i + 1, idOf(`m${i}`), `m${i}`)
  const known = sqlite.prepare('INSERT INTO known (event_id, seq, waits) VALUES (?, ?, NULL)')
  known.run(bytesOf('elsewhere'), 1_000)
  for (let i = 299; i >= 0; i--) known.run(bytesOf(`m${i}`), i)
  sqlite.exec('INSERT INTO audited VALUES (599)')
}

test('a file of the version before loses its index of event ids, and its ledger names the mails', async () => {
  await using box = storeBox()
  olderFile(box, NAMED_SINCE, fillOlder)
  assert.deepEqual(rowsOf(box, 'm0', 'm1', 'm299', 'elsewhere', 'never'), [1, 3, 599, null, null])
  read(box, (db) => {
    assert.deepEqual(misnamedMails(db), [])
    assert.equal(eventOf(db, idOf('m299'))?.provider_message_id, 'm299')
    assert.deepEqual([knownSeq(db, idOf('m7')), knownSeq(db, idOf('elsewhere'))], [7, 1_000])
    assert.equal(countListed(db, ACCOUNT), 1)
  })
  const { stored, events } = write(box, (tx) => storeNew(tx, ACCOUNT, [mail('m3'), mail('elsewhere'), mail('new')], 1))
  assert.deepEqual([stored, events], [2, 1])
  assert.deepEqual(rowsOf(box, 'm3', 'elsewhere', 'new'), [7, 600, 601])
  await using fresh = adopted()
  const [schema, expected] = [box, fresh].map((each) =>
    byHand(each, (sqlite) => {
      assert.deepEqual(sqlite.pragma('integrity_check'), [{ integrity_check: 'ok' }])
      return sqlite.prepare("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE '%drizzle%' ORDER BY name").all()
    }),
  )
  assert.deepEqual(schema, expected)
  assert.doesNotMatch(JSON.stringify(schema), /autoindex_email_received|by_event_id/)
})

test('a migration that fails leaves the file of the version before as it was', async () => {
  await using box = storeBox()
  const schemaOf = (sqlite: SqliteDatabase.Database) => sqlite.prepare('SELECT * FROM sqlite_schema').all()
  const before: unknown[] = []
  olderFile(box, NAMED_SINCE, (sqlite) => {
    fillOlder(sqlite)
    // In the way of the last step.
    sqlite.exec('CREATE TABLE email_by_event_id (x)')
    before.push(schemaOf(sqlite))
  })
  assert.throws(() => rowsOf(box, 'm0'))
  byHand(box, (sqlite) => {
    assert.deepEqual([schemaOf(sqlite)], before)
    assert.deepEqual(sqlite.pragma('integrity_check'), [{ integrity_check: 'ok' }])
    sqlite.exec('DROP TABLE email_by_event_id')
  })
  assert.deepEqual(rowsOf(box, 'm0', 'm299'), [1, 599])
})
