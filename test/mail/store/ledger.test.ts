/** The ledger as it leaves a database and enters another one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stringify } from 'uuid'
import { eventId } from '#shared/event.ts'
import { decodeEntries, ENTRY_BYTES } from '../../../services/mail/outbox/ledger-format.ts'
import { knownSeq, setKnownSeq } from '../../../services/mail/store/known.ts'
import { type LedgerEntry, ledgerPage, ledgerSize, takeOverEntries } from '../../../services/mail/store/ledger.ts'
import { knownIds, publishedIds, storeNew } from '../../../services/mail/store/messages.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import { dueRows, markPublished, outboxDepth } from '../../../services/mail/store/outbox-rows.ts'
import { republish } from '../../../services/mail/store/republish.ts'
import { known } from '../../../services/mail/store/schema/user.ts'
import { fc } from '../../support/fast-check.ts'
import { ACCOUNT, EPOCH, mails, type StoreBox, storeBox } from './support.ts'

const USER = ACCOUNT.userId
const idOf = (mail: string): string => eventId(USER, 'GOOGLE', 'primary', mail)

function adopted(): StoreBox {
  const box = storeBox()
  box.store.adopt(USER, EPOCH)
  return box
}

/** Ten mails, of which the first six are on the stream. */
function sixOfTen(): StoreBox {
  const box = adopted()
  box.store.commit(USER, EPOCH, (tx) => {
    storeNew(tx, ACCOUNT, mails('m', 10), 1)
    const marks = dueRows(tx, 6).map(({ id, msgId }) => ({ id, msgId, seq: id + 100 }))
    markPublished(tx, marks, { seq: 106, eventId: marks[5]?.msgId ?? null }, 1)
  })
  return box
}

function entriesOf({ store }: StoreBox, limit: number): LedgerEntry[] {
  const entries: LedgerEntry[] = []
  for (let after: number | null = 0; after !== null; ) {
    const from: number = after
    const page = store.read(USER, (db) => ledgerPage(db, from, limit))
    entries.push(...decodeEntries(page.bytes))
    after = page.end
  }
  return entries
}

test('what is published leaves in pages, each entry once; what waits does not leave at all', async () => {
  await using box = sixOfTen()
  const published = mails('m', 6).map(({ id }, i) => [idOf(id), 101 + i])
  for (const limit of [1, 3, 10, 100])
    assert.deepEqual(
      entriesOf(box, limit).map(({ id, seq }) => [stringify(id), seq]),
      published,
      `pages of ${limit}`,
    )
  assert.equal(box.store.read(USER, ledgerSize), 10)
})

test('an event that the stream has lost and that waits again does not leave, though it has a sequence', async () => {
  await using box = sixOfTen()
  box.store.commit(USER, EPOCH, (tx) => republish(tx, [idOf('m0003')], 1))
  assert.equal(
    entriesOf(box, 100).some(({ id }) => stringify(id) === idOf('m0003')),
    false,
  )
})

test('what enters is known without a row; what waits here and is published there waits no longer', async () => {
  await using from = sixOfTen()
  await using to = adopted()
  const entries = entriesOf(from, 100)
  to.store.commit(USER, EPOCH, (tx) => {
    storeNew(tx, ACCOUNT, mails('m', 2), 1)
    takeOverEntries(tx, entries, { seq: 106, eventId: idOf('m0005') }, 1)
  })
  const ids = mails('m', 10).map(({ id }) => id)
  const [rows, published, pending, meta] = to.store.read(USER, (db) => [
    knownIds(db, ACCOUNT, ids).size,
    [...publishedIds(db, ACCOUNT, ids)].toSorted(),
    outboxDepth(db).pending,
    readMeta(db),
  ])
  assert.deepEqual([rows, published, pending], [2, ids.slice(0, 6), 0])
  assert.deepEqual([meta?.lastSeq, meta?.lastEventId], [106, idOf('m0005')])
  const stored = to.store.commit(USER, EPOCH, (tx) => storeNew(tx, ACCOUNT, mails('m', 10), 1))
  assert.deepEqual(
    [stored.stored, stored.events, stored.doubtful],
    [8, 4, 0],
    'a row for each, an event for what nobody has published',
  )
})

test('an entry without a place on the stream does not take one away', async () => {
  await using box = sixOfTen()
  const entry = { id: Buffer.from(idOf('m0001').replaceAll('-', ''), 'hex'), seq: 0 }
  box.store.commit(USER, EPOCH, (tx) => takeOverEntries(tx, [entry], { seq: 106, eventId: null }, 1))
  assert.equal(
    box.store.read(USER, (db) => knownSeq(db, idOf('m0001'))),
    102,
  )
})

test('an event known from elsewhere that the stream has lost is forgotten: its mail brings it again', async () => {
  await using from = sixOfTen()
  await using to = adopted()
  const entries = entriesOf(from, 100)
  to.store.commit(USER, EPOCH, (tx) => takeOverEntries(tx, entries, { seq: 106, eventId: null }, 1))
  assert.equal(
    to.store.commit(USER, EPOCH, (tx) => republish(tx, [idOf('m0005')], 1)),
    0,
  )
  const stored = to.store.commit(USER, EPOCH, (tx) => storeNew(tx, ACCOUNT, mails('m', 6), 1))
  assert.deepEqual([stored.stored, stored.events, stored.doubtful], [6, 1, 0])
})

test('the ledger is 24 bytes a mail and leaves as it was written', async () => {
  await using box = adopted()
  const entry = fc.record(
    {
      id: fc.uuid({ version: 5 }).map((id) => Buffer.from(id.replaceAll('-', ''), 'hex')),
      seq: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    },
    { noNullPrototype: true },
  )
  const key = ({ id }: LedgerEntry): string => id.toString('hex')
  fc.assert(
    fc.property(fc.uniqueArray(entry, { selector: key }), (entries) => {
      const found = box.store.commit(USER, EPOCH, (tx) => {
        tx.db.delete(known).run()
        for (const { id, seq } of entries) setKnownSeq(tx, stringify(id), seq)
        return ledgerPage(tx, 0, 1_000)
      })
      assert.equal(found.bytes.length, entries.length * ENTRY_BYTES)
      assert.deepEqual(decodeEntries(found.bytes), entries)
    }),
  )
  assert.equal(ENTRY_BYTES, 24)
  assert.throws(() => decodeEntries(new Uint8Array(25)), RangeError)
})
