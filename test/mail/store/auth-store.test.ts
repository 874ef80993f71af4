import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import SqliteDatabase from 'better-sqlite3'
import type { AccountRef } from '../../../services/mail/base/model.ts'
import { type AuthEntry, AuthStore } from '../../../services/mail/store/auth-store.ts'
import { ExitError } from '../../../shared/lifecycle.ts'

const ACCOUNT: AccountRef = { userId: 'u1', provider: 'google', inboxId: 'primary' }
const entry = (change: Partial<AuthEntry> = {}): AuthEntry => ({
  account: ACCOUNT,
  accessToken: 'h1..a.a.a',
  refreshToken: 'h1..r.r.r',
  expiryS: 1_700_000_000,
  kvRev: 7,
  kvHash: 'hash',
  bucketCreatedMs: 1_000,
  dirty: false,
  mailbox: 'a@example.com',
  address: null,
  reauth: null,
  ...change,
})

function start(t: TestContext): { file: string; store: AuthStore } {
  const dir = mkdtempSync(join(tmpdir(), 'mail-sync-auth-'))
  const file = join(dir, 'data', 'auth.db')
  const store = new AuthStore(file)
  t.after(() => {
    store[Symbol.dispose]()
    rmSync(dir, { recursive: true })
  })
  return { file, store }
}

test('a row comes back as it was put, keeps its creation time and is gone when deleted', (t) => {
  const { store } = start(t)
  assert.equal(store.get(ACCOUNT), null)
  store.put(entry({ reauth: { code: 'AUTH_EXPIRED', at: 5 } }), 100)
  store.put(entry({ accessToken: 'h1..b.b.b', dirty: true }), 200)
  assert.deepEqual(store.get(ACCOUNT), {
    ...entry({ accessToken: 'h1..b.b.b', dirty: true }),
    createdAtS: 100,
    updatedAtS: 200,
  })
  store.delete({ ...ACCOUNT, provider: 'microsoft' })
  assert.notEqual(store.get(ACCOUNT), null)
  store.delete(ACCOUNT)
  assert.equal(store.get(ACCOUNT), null)
})

test('accounts of other users, providers and inboxes are other rows', (t) => {
  const { store } = start(t)
  const accounts: AccountRef[] = [
    ACCOUNT,
    { ...ACCOUNT, inboxId: 'work' },
    { ...ACCOUNT, provider: 'microsoft' },
    { ...ACCOUNT, userId: 'U1' },
  ]
  for (const [index, account] of accounts.entries()) store.put(entry({ account, kvRev: index }), 1)
  for (const [index, account] of accounts.entries()) assert.equal(store.get(account)?.kvRev, index)
})

test('the table has the columns of the contract and its file is closed to others', (t) => {
  const { file, store } = start(t)
  store.put(entry(), 100)
  for (const part of [file, `${file}-wal`, `${file}-shm`]) assert.equal(statSync(part).mode & 0o777, 0o600, part)
  assert.equal(statSync(join(file, '..')).mode & 0o777, 0o700)
  const reader = new SqliteDatabase(file, { readonly: true })
  t.after(() => reader.close())
  const row = reader
    .prepare(
      'select user_id, provider, inbox_id, access_token, refresh_token, expiry, created_at, updated_at from oauth_tokens',
    )
    .raw()
    .get()
  assert.deepEqual(row, ['u1', 'GOOGLE', 'primary', 'h1..a.a.a', 'h1..r.r.r', 1_700_000_000, 100, 100])
})

test('a file that others can read, or a link, is not opened', (t) => {
  const { file, store } = start(t)
  store[Symbol.dispose]()
  symlinkSync(file, `${file}.link`)
  assert.throws(() => new AuthStore(`${file}.link`), /not a regular file/)
  for (const mode of [0o640, 0o620, 0o604, 0o602, 0o611]) {
    chmodSync(file, mode)
    assert.throws(() => new AuthStore(file), ExitError, mode.toString(8))
  }
  chmodSync(file, 0o600)
  new AuthStore(file)[Symbol.dispose]()
})

test('clean and rebase touch what belongs to the record and leave the tokens', (t) => {
  const { store } = start(t)
  store.put(entry({ dirty: true }), 100)
  const base = { kvRev: 9, kvHash: 'next', bucketCreatedMs: 2_000 }
  store.rebase(ACCOUNT, base, { mailbox: 'b', address: 'c', reauth: null })
  assert.deepEqual(store.get(ACCOUNT), {
    ...entry({ ...base, dirty: true, mailbox: 'b', address: 'c' }),
    createdAtS: 100,
    updatedAtS: 100,
  })
  store.markClean(ACCOUNT, 'h1..of.an.other', base)
  assert.deepEqual(store.dirtyAccounts(), [ACCOUNT])
  store.markClean(ACCOUNT, 'h1..a.a.a', { ...base, kvRev: 10 })
  assert.deepEqual(store.dirtyAccounts(), [])
  assert.equal(store.get(ACCOUNT)?.kvRev, 10)
})

test('listing gives every row once over many pages, also while rows are changed and deleted', (t) => {
  const { store } = start(t)
  const ids = Array.from({ length: 450 }, (_, index) => `u${index}`)
  for (const userId of ids) store.put(entry({ account: { ...ACCOUNT, userId } }), 1)
  const seen: string[] = []
  for (const row of store.list()) {
    seen.push(row.account.userId)
    if (seen.length % 2 === 0) store.delete(row.account)
    else store.rebase(row.account, { ...row, bucketCreatedMs: 2_000 }, row)
  }
  assert.deepEqual(seen.sort(), ids.sort())
})

test('one value of each seal header is enough to name all keys', (t) => {
  const { store } = start(t)
  for (let index = 0; index < 20; index++)
    store.put(
      entry({
        account: { ...ACCOUNT, userId: `u${index}` },
        accessToken: `h${index % 2}..a.a.a`,
        refreshToken: 'h2..r.r.r',
      }),
      1,
    )
  let given = 0
  const kids = store.allKids((sealed) => {
    given = sealed.length
    return sealed.map((value) => value.slice(0, 2))
  })
  assert.deepEqual(kids.sort(), ['h0', 'h1', 'h2'])
  assert.equal(given, 3)
})
