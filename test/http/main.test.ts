import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { startNatsServer } from '../support/nats-server.ts'

const MAIN = join(import.meta.dirname, '../../services/http/main.ts')

function exitOf(env: Record<string, string>): Promise<{ code: number; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN], { env, timeout: 20_000 }, (error, _out, err) =>
      resolve({ code: Number(error?.code ?? 0), err }),
    )
  })
}

test('all faults of the environment are reported at once, without the values, and the exit code is 78', async () => {
  const { code, err } = await exitOf({ HTTP_PORT: 'eighty', NATS_URL: 'nats://me:hunter2@localhost' })
  assert.equal(code, 78)
  assert.match(err, /^NATS_URL must be/m)
  assert.match(err, /^BETTER_AUTH_JWKS_URL is not set/m)
  assert.match(err, /^HTTP_PORT must be a whole number/m)
  assert.doesNotMatch(err, /hunter2|eighty/)
})

test('the process serves, and ends with 0 at SIGTERM', async () => {
  await using nats = await startNatsServer({ conf: 'open' })
  const env = { NATS_URL: nats.url, HTTP_PORT: '0', BETTER_AUTH_JWKS_URL: 'http://127.0.0.1:1/jwks' }
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    let url = ''
    for await (const line of createInterface({ input: child.stdout })) {
      const entry = JSON.parse(line) as { url?: string }
      if (entry.url === undefined) continue
      url = entry.url
      break
    }
    assert.equal((await fetch(`${url}/healthz`)).status, 200)
    child.kill('SIGTERM')
    const [code, signal] = await once(child, 'exit')
    assert.deepEqual([code, signal], [0, null])
  } finally {
    child.kill('SIGKILL')
  }
})
