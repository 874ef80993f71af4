/** A password that NATS takes no longer: whoever has the old one ends and says so, in place of waiting for ever. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { InstanceProcess, MACHINE } from '../../support/instance.ts'
import type { Nats } from '../../support/nats-cluster.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'

const BRIDGE = join(import.meta.dirname, '../../../services/http/main.ts')

/** As an operator does who replaces a password: the server lets those with the old one in no more. */
async function replacePasswords(nats: Nats): Promise<void> {
  const file = join(nats.dir, 'nats.env')
  const before = await readFile(file, 'utf8')
  await nats.stop('SIGKILL')
  await writeFile(file, before.replaceAll(/^(NATS_(?:MAILSYNC|BRIDGE)_PASSWORD=).+$/gm, '$1replaced'))
  await nats.start()
}

test('an instance and a bridge whose password was replaced end with 78 and say what to check', async () => {
  await using box = await sandbox()
  const instance = await box.spawn('a')
  const env = {
    ...MACHINE,
    NATS_URL: box.nats.url,
    NATS_USER: 'bridge',
    NATS_PASSWORD: box.nats.passwords.bridge,
    BETTER_AUTH_JWKS_URL: 'http://127.0.0.1:1/jwks',
    HTTP_PORT: '0',
  }
  await using bridge = new InstanceProcess(
    spawn(process.execPath, [BRIDGE], { env, stdio: ['ignore', 'pipe', 'pipe'] }),
  )
  await until('the bridge listens', () => bridge.lines.some((line) => line.includes('listening')))
  await replacePasswords(box.nats)
  for (const [process, user] of [
    [instance, 'mailsync'],
    [bridge, 'bridge'],
  ] as const) {
    assert.equal(await process.exited, 78, process.lines.join('\n'))
    assert.match(process.lines.join('\n'), new RegExp(`refuses NATS user ${user}: check NATS_USER and NATS_PASSWORD`))
  }
})
