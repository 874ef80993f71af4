/** The key of the seal comes from where the environment says: what an instance stores is sealed with it, and another one opens it. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { kidOf } from '../../../services/mail/token/seal.ts'
import { startInstance } from '../../support/instance.ts'
import { sandbox } from '../../support/sandbox.ts'
import { recordOf, SEED } from '../acceptance/support.ts'

test('in production a file and a command give the key, and neither makes another', async () => {
  await using box = await sandbox({ simulator: { seed: SEED } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const file = join(box.dir, 'keys')
  await writeFile(file, `given:${randomBytes(32).toString('base64url')}\n`, { mode: 0o600 })
  const start = (name: string, source: Record<string, string>) => {
    const { MAIL_TOKEN_KEYS: _, ...env } = box.env(name)
    return startInstance({ ...env, ...source, NODE_ENV: 'production' })
  }
  {
    await using _ = await start('a', { MAIL_TOKEN_KEY_FILE: file })
    await box.connect(nc, 'ada', 'google', { n: 3 })
    await box.allLive(nc, ['ada'])
    assert.equal(kidOf((await recordOf(ops, 'ada', 'google')).credential ?? ''), 'given')
  }
  await using _ = await start('b', { MAIL_TOKEN_KEY_COMMAND: `cat ${file}` })
  await box.allLive(nc, ['ada'])
  await box.connect(nc, 'grace', 'google', { n: 3 })
  await box.allLive(nc, ['grace'])
  assert.equal(kidOf((await recordOf(ops, 'grace', 'google')).credential ?? ''), 'given')
  assert.equal(existsSync(join(box.dir, '.mail-sync')), false)
})
