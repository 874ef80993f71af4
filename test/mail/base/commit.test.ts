import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { commitOf } from '../../../services/mail/base/commit.ts'

const COMMIT = '0123456789abcdef0123456789abcdef01234567'
const OTHER = 'fedcba9876543210fedcba9876543210fedcba98'

test('the commit is what the build has noted, else that of the checkout, else unknown', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'mail-sync-commit-'))
  t.after(() => rm(root, { recursive: true }))
  const write = async (name: string, text: string): Promise<void> => {
    await mkdir(dirname(join(root, '.git', name)), { recursive: true })
    await writeFile(join(root, '.git', name), text)
  }
  assert.equal(commitOf(undefined, root), 'unknown', 'no checkout')
  assert.equal(commitOf('v1.2.3', root), 'v1.2.3')
  await write('HEAD', 'ref: refs/heads/a/b\n')
  assert.equal(commitOf(undefined, root), 'unknown', 'before the first commit')
  await write(
    'packed-refs',
    `# pack-refs with: peeled fully-peeled sorted\n${OTHER} refs/heads/b\n${COMMIT} refs/heads/a/b\n`,
  )
  assert.equal(commitOf(undefined, root), COMMIT, 'a packed ref')
  await write('refs/heads/a/b', `${OTHER}\n`)
  assert.equal(commitOf(undefined, root), OTHER, 'a ref of its own is newer')
  assert.equal(commitOf(COMMIT, root), COMMIT, 'the build knows better')
  await write('HEAD', `${COMMIT}\n`)
  assert.equal(commitOf(undefined, root), COMMIT, 'no branch')
  await write('HEAD', 'ref: refs/../../../etc/passwd\n')
  assert.equal(commitOf(undefined, root), 'unknown')
})
