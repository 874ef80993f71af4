/** A thousand rows are sealed anew by processes that are killed ten times, while tokens are refreshed. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { systemClock } from '../../services/mail/base/time.ts'
import { credentialId } from '../../services/mail/kv/account-record.ts'
import { Accounts } from '../../services/mail/kv/accounts.ts'
import { AuthStore } from '../../services/mail/store/auth-store.ts'
import { openCredential, openPair, sealCredential, sealPair } from '../../services/mail/token/credential.ts'
import { loadKeys } from '../../services/mail/token/keys.ts'
import { createSeal, KeyUnavailableError, type Seal } from '../../services/mail/token/seal.ts'
import { createLog } from '../../shared/log.ts'
import { Secret } from '../../shared/secret.ts'
import { grantAnswer, TokenServer } from '../mail/token/token-server.ts'
import { Broker, nowS } from '../mail/token/world.ts'

const ROWS = 1_000
const CHUNK = 100
const log = createLog('test', 'silent')
const keyText = (kid: string): string => `${kid}:${randomBytes(32).toString('base64url')}`
const sealOf = async (text: string): Promise<Seal> =>
  createSeal(await loadKeys({ keys: new Secret(text), production: true, dataDir: 'unused', kidsInUse: [] }, log))
const refOf = (i: number) => ({ userId: `u${i}`, provider: 'google', inboxId: 'primary' }) as const
const nameOf = (i: number, n: number) => ({
  accessToken: new Secret(`access-${i}-${n}`),
  refreshToken: new Secret(`refresh-${i}-${n}`),
  expiryS: nowS() + 3600,
})
/** How often the account was refreshed before these tokens. */
const roundOf = (i: number, { refreshToken }: { refreshToken: Secret }): number => {
  const [, account, round] = refreshToken.reveal().split('-')
  assert.equal(account, String(i), 'a token of its own account')
  return Number(round)
}

/** Ten deaths: in the midst of a batch of records, and before and after one of rows is on the disk. */
const DEATHS = [
  ...[1, 30, 60, 99, 150, 160].map((at, i) => ({ of: 'record', at, when: i % 2 === 0 ? 'before' : 'after' })),
  ...[1, 2, 2, 3].map((at, i) => ({ of: 'rows', at, when: i % 2 === 0 ? 'before' : 'after' })),
]

test('a thousand rows, ten kills, refreshes all the while: every row opens with the new key alone, no refresh is lost', async (t) => {
  await using broker = await Broker.start()
  await using server = await TokenServer.start()
  server.answer = (form) => {
    const [, i, n] = (form.get('refresh_token') ?? '').split('-').map(Number)
    const next = nameOf(i ?? 0, (n ?? 0) + 1)
    return grantAnswer({
      access_token: next.accessToken.reveal(),
      refresh_token: next.refreshToken.reveal(),
      expires_in: 3600,
    })
  }
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-rekey-'))
  t.after(() => rm(dir, { recursive: true }))
  const authFile = join(dir, 'auth.db')
  const [old, next] = [keyText('k1'), keyText('k2')]
  const accounts = new Accounts(() => broker.bucket, systemClock, log)
  await fill(accounts, authFile, await sealOf(old), broker.bucket.createdMs)

  const onlyNew = await sealOf(next)
  const first = await accounts.read(refOf(0))
  await assert.rejects(openCredential(onlyNew, refOf(0), first?.record.credential ?? ''), KeyUnavailableError)

  /** Of each account the last refresh that was done. */
  const acknowledged = new Map<number, number>()
  const run = async (death: object): Promise<NodeJS.Signals | null> => {
    const args = [broker.nc.getServer(), authFile, server.url, `${next},${old}`, JSON.stringify(death)]
    const child = spawn(process.execPath, [join(import.meta.dirname, 'rekey-process.ts'), ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(() => child.kill('SIGKILL'))
    const lines = createInterface({ input: child.stdout }).on('line', (line) => {
      const [what, i, n] = line.split(' ')
      if (what === 'r') acknowledged.set(Number(i), Number(n))
    })
    const [[code, signal]] = await Promise.all([once(child, 'exit'), once(lines, 'close')])
    assert.ok(code === null || code === 0, `ended with ${code}`)
    return signal
  }
  for (const death of DEATHS) assert.equal(await run(death), 'SIGKILL', JSON.stringify(death))
  assert.equal(await run({ of: 'never', at: 11, when: 'before' }), null)

  using auth = new AuthStore(authFile)
  for (let i = 0; i < ROWS; i++) {
    const record = (await accounts.read(refOf(i)))?.record
    const row = auth.get(refOf(i))
    assert.ok(record?.credential != null && row !== null)
    const inKv = roundOf(i, await openCredential(onlyNew, refOf(i), record.credential))
    const onDisk = roundOf(i, await openPair(onlyNew, refOf(i), row))
    assert.ok(Math.max(inKv, row.dirty ? onDisk : 0) >= (acknowledged.get(i) ?? 0), `${i} fell back`)
    if (!row.dirty) assert.equal(row.kvHash, credentialId(record), `${i}: the row is not that of the record`)
  }
  assert.ok(acknowledged.size > 0, 'tokens were refreshed meanwhile')
  t.diagnostic(`${acknowledged.size} accounts were refreshed`)
})

/** All sealed with one key, in the bucket and in auth.db. */
async function fill(accounts: Accounts, authFile: string, seal: Seal, bucketCreatedMs: number): Promise<void> {
  using auth = new AuthStore(authFile)
  const facts = { mailbox: null, address: null, revoke: null, reauth: null }
  for (let from = 0; from < ROWS; from += CHUNK) {
    await Promise.all(
      Array.from({ length: CHUNK }, async (_, k) => {
        const [account, tokens] = [refOf(from + k), nameOf(from + k, 0)]
        const credential = await sealCredential(seal, account, tokens)
        const record = { v: 1, desired: 'connected', ...facts, credential, updated_at: nowS() } as const
        const kvRev = await accounts.write(account, record, null)
        const base = { kvRev, kvHash: credentialId(record), bucketCreatedMs, ...facts, dirty: false }
        auth.put({ account, ...(await sealPair(seal, account, tokens)), ...base }, record.updated_at)
      }),
    )
  }
}
