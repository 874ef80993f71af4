/** An instance whose working thread is held for seconds, as no work of ours should hold it. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { test } from 'node:test'
import { requestOperation } from '#shared/control-client.ts'
import { AppError } from '#shared/errors.ts'
import { InstanceProcess, MACHINE } from '../../support/instance.ts'
import { killWithUs } from '../../support/kill-with-us.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'

const MAIN = new URL('../../../services/mail/main.js', import.meta.url).pathname
const HELD_MS = 4_000
const HOLD = `import { isMainThread } from 'node:worker_threads'
  import { writeSync } from 'node:fs'
  if (isMainThread) process.on('SIGUSR2', () => {
    writeSync(1, 'held\\n')
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${HELD_MS})
    writeSync(1, 'free\\n')
  })`

test('while the work holds its thread requests are read, judged and refused; what only the work knows waits for it', async () => {
  await using box = await sandbox()
  const nc = await box.connection('service')
  const program = ['--import', `data:text/javascript,${encodeURIComponent(HOLD)}`, MAIN]
  const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe']
  const child = spawn(process.execPath, program, { env: { ...MACHINE, ...box.env('a') }, stdio })
  killWithUs(child)
  await using instance = new InstanceProcess(child)
  await instance.ready()
  child.kill('SIGUSR2')
  await until('the thread is held', () => instance.lines.includes('held'))
  const refused = requestOperation(nc, 'status', { jwt: 'x', body: {}, requestId: 'test' })
  await assert.rejects(refused, (error) => error instanceof AppError && error.code === 'TOKEN_NOT_A_JWT')
  const wrong = requestOperation(nc, 'connect', { asUser: 'ada', body: {}, requestId: 'test' })
  await assert.rejects(wrong, (error) => error instanceof AppError && error.code === 'BAD_REQUEST')
  await nc.request('$SRV.PING.mail-sync', '', { timeout: HELD_MS })
  assert.ok(!instance.lines.includes('free'), 'all of that was answered meanwhile')
  const reply = await requestOperation(nc, 'status', { asUser: 'ada', body: {}, requestId: 'test', timeoutMs: 10_000 })
  assert.deepEqual(reply.accounts, [])
  assert.ok(instance.lines.includes('free'), 'who ada is, only the work knows')
})
