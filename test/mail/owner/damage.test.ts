/** Damage that only a later read or write meets: the file is set aside once and built anew, and no mail is twice or lost. */
import assert from 'node:assert/strict'
import { closeSync, openSync, readdirSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { test } from 'node:test'
import SqliteDatabase from 'better-sqlite3'
import { CorruptError } from '../../../services/mail/store/sqlite.ts'
import { eventsOf } from '../../support/ledger.ts'
import { until } from '../../support/until.ts'
import { mail } from '../store/support.ts'
import { ownerBox, TWENTY } from './support.ts'

const USER = 'user0'

/** Overwrites the first page of a table, and nothing else. */
function damage(file: string, table: string): void {
  const db = new SqliteDatabase(file)
  db.pragma('wal_checkpoint(TRUNCATE)')
  const page = Number(db.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?').pluck().get(table))
  const size = Number(db.pragma('page_size', { simple: true }))
  db.close()
  const fd = openSync(file, 'r+')
  writeSync(fd, Buffer.alloc(size, 0xa5), 0, size, (page - 1) * size)
  closeSync(fd)
}

const asideOf = (file: string): string[] => readdirSync(dirname(file)).filter((name) => /corrupt-\d+$/.test(name))

for (const [table, who] of [
  ['outbox', 'the relay'],
  ['email_received_events', 'a worker with new mail'],
] as const)
  test(`damage that only ${who} meets sets the database aside, and the user is built anew`, async () => {
    await using box = await ownerBox()
    const before = await box.node('a')
    before.run()
    await box.put(before, USER)
    const ops = await box.connect('ops')
    await until('all mail', async () => (await eventsOf(ops, USER)).length === TWENTY)
    await before.end()
    const file = before.store.fileOf(USER)
    damage(file, table)

    const after = await box.node('a')
    const { answer } = after.provider
    after.provider.answer = async (request, call) => {
      const page = await answer(request, call)
      return page.messages?.length === 0 ? { ...page, messages: [mail('late')] } : page
    }
    after.run()
    await until('the late mail is on the stream', async () => (await eventsOf(ops, USER)).length > TWENTY)
    assert.equal(asideOf(file).length, 1)
    assert.equal(after.store.inspect(USER), 'usable')
    const ids = (await eventsOf(ops, USER)).map(({ event }) => event.provider_message_id)
    assert.deepEqual([ids.length, new Set(ids).size, ids.at(-1)], [TWENTY + 1, TWENTY + 1, 'late'])
  })

test("damage of another database than the user's, as auth.db, ends no term and sets nothing aside", async () => {
  await using box = await ownerBox()
  const node = await box.node('a')
  node.provider.answer = () => {
    throw new CorruptError('/data/auth.db', '/data/auth.db is damaged (SQLITE_CORRUPT)')
  }
  node.run()
  await box.put(node, USER)
  const fault = () => node.supervisor.tenures.get(USER)?.statuses()?.[0]?.last_error?.code
  await until('the fault shows', () => fault() !== undefined)
  assert.equal(fault(), 'INTERNAL')
  assert.equal(node.supervisor.tenures.get(USER)?.lost.aborted, false)
  assert.deepEqual(asideOf(node.store.fileOf(USER)), [])
})
