import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createLog } from '#shared/log.ts'
import { countStored, storeNew } from '../../../services/mail/store/messages.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import { ACCOUNT, EPOCH, mails } from './support.ts'

/** A file system of 2 MiB; null where this user may not mount one. */
function tinyDisk(t: TestContext): string | null {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return null
  const dir = mkdtempSync(join(tmpdir(), 'mail-sync-tiny-'))
  let mounted = false
  t.after(() => {
    if (mounted) execFileSync('umount', [dir])
    rmSync(dir, { recursive: true })
  })
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', dir], { stdio: 'ignore' })
  } catch {
    return null
  }
  mounted = true
  return dir
}

test('a full disk loses nothing that was stored, says so, and the same handle goes on once there is room', async (t) => {
  const dir = tinyDisk(t)
  if (dir === null) {
    t.diagnostic('only root can mount the tiny disk that this needs')
    return
  }
  writeFileSync(join(dir, 'ballast'), Buffer.alloc(1024 * 1024))
  await using store = new UserStore({ dataDir: dir, log: createLog('test', 'silent') })
  store.adopt('ada', EPOCH)
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
  assert.throws(() => store.adopt('eve', EPOCH), full)
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
