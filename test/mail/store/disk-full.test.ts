import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createLog } from '#shared/log.ts'
import { countStored, storeNew } from '../../../services/mail/store/messages.ts'
import { probeDataDir } from '../../../services/mail/store/probe.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import { ACCOUNT, EPOCH, mails } from './support.ts'
import { tinyDisk } from './tiny-disk.ts'

const NO_DISK = 'only root can mount the tiny disk that this needs'

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'mail-sync-tiny-'))
  t.after(() => rmSync(dir, { recursive: true }))
  return dir
}

test('a full disk loses nothing that was stored, says so, and the same handle goes on once there is room', async (t) => {
  const dir = folder(t)
  using disk = tinyDisk(dir)
  if (disk === null) return t.diagnostic(NO_DISK)
  writeFileSync(join(dir, 'ballast'), Buffer.alloc(1024 * 1024))
  await using store = new UserStore({ dataDir: dir, log: createLog('test', 'silent') })
  store.adopt('ada', EPOCH)
  const faults: string[] = []
  store.onDiskFault = ({ code }) => faults.push(code)
  let stored = 0
  const page = (): number => {
    store.commit('ada', EPOCH, (tx) => storeNew(tx, ACCOUNT, mails(`p${stored}-`, 50), 1))
    stored += 50
    return stored
  }
  const full = { name: 'DiskError', code: 'DISK_FULL' }
  assert.throws(() => {
    while (page() < 100_000);
  }, full)
  assert.deepEqual(faults, ['DISK_FULL'], 'also of a user that runs')
  assert.throws(() => store.adopt('eve', EPOCH), full)
  assert.deepEqual(new Set(faults.slice(1)), new Set(['DISK_FULL']))
  assert.equal(
    store.read('ada', (db) => countStored(db, ACCOUNT)),
    stored,
  )
  assert.equal(store.inspect('eve'), 'absent', 'no half file is left behind')
  rmSync(join(dir, 'ballast'))
  page()
  assert.equal(
    store.read('ada', (db) => countStored(db, ACCOUNT)),
    stored,
  )
  assert.equal(store.adopt('eve', EPOCH).fresh, true)
})

test('a data folder that can keep something is told from one that is full, and is left as it was', async (t) => {
  const dir = folder(t)
  await probeDataDir(dir)
  assert.deepEqual(readdirSync(dir), [])
  await assert.rejects(probeDataDir(join(dir, 'gone')), { name: 'DiskError', code: 'CANNOT_OPEN' })
  using disk = tinyDisk(dir)
  if (disk === null) return t.diagnostic(NO_DISK)
  await probeDataDir(dir, 2 * 1024 * 1024)
  await assert.rejects(probeDataDir(dir, 2 * 1024 * 1024 + 1), { name: 'DiskError', code: 'DISK_FULL' })
  writeFileSync(join(dir, 'ballast'), Buffer.alloc(1024 * 1024 + 1))
  await assert.rejects(probeDataDir(dir), { name: 'DiskError', code: 'DISK_FULL' })
  assert.deepEqual(readdirSync(dir), ['ballast'])
})
