/** Stops while NATS accepts what it is sent and answers nothing, by real processes: they end all the same, with exit 0. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { InstanceProcess, MACHINE } from '../../support/instance.ts'
import { startNatsServer } from '../../support/nats-server.ts'
import { type Direction, startProxy } from '../../support/proxy.ts'
import { reset } from '../../support/reset.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'

const MAIN = join(import.meta.dirname, '../../../services/mail/main.js')
/** Less than any deadline of a request to NATS and the second in which a process ends are together. */
const AT_ONCE_MS = 2_500
/** The drain limit, a moment to close the session, and the second in which a process ends. */
const DRAINED_MS = 12_500

function start(env: NodeJS.ProcessEnv): InstanceProcess {
  const child = spawn(process.execPath, [MAIN], { env: { ...MACHINE, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  return new InstanceProcess(child)
}

async function endsWithin(instance: InstanceProcess, limitMs: number): Promise<void> {
  const askedMs = performance.now()
  assert.equal(await instance.kill('SIGTERM'), 0, instance.lines.join('\n'))
  const tookMs = performance.now() - askedMs
  assert.ok(tookMs < limitMs, `${Math.round(tookMs)} ms\n${instance.lines.join('\n')}`)
}

test('asked to stop while a NATS that never says a word is waited for, it stops at once', async () => {
  await using box = await sandbox()
  await using stack = new AsyncDisposableStack()
  const server = createServer().listen(0, '127.0.0.1')
  stack.defer(() => void server.close())
  await once(server, 'listening')
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const connected = once(server, 'connection')
  await using instance = start(box.env('a', { NATS_URL: `nats://127.0.0.1:${address.port}` }))
  const [socket] = await connected
  stack.defer(() => reset(socket))
  await endsWithin(instance, AT_ONCE_MS)
})

/** What passes when the start has come this far. */
const STEPS: [step: string, direction: Direction, bytes: string][] = [
  ['the first look at the stream', 'toClient', 'stream_names_response'],
  ['the bucket of the sessions', 'toClient', '"KV_mail_leases"'],
  ['the first look at the accounts', 'toServer', '$JS.API.CONSUMER.CREATE.KV_mail_accounts'],
  ['the endpoints', 'toServer', '$SRV.PING'],
]
for (const [step, direction, bytes] of STEPS)
  test(`asked to stop while NATS hangs in the middle of a start, at ${step}, it stops at once`, async () => {
    await using box = await sandbox()
    await using proxy = await startProxy(box.nats.port)
    const held = proxy.holdFrom(direction, (chunk) => chunk.includes(bytes))
    await using instance = start(box.env('a', { NATS_URL: `nats://127.0.0.1:${proxy.port}` }))
    await held
    proxy.hold('toClient')
    await endsWithin(instance, AT_ONCE_MS)
  })

test('asked to stop while NATS is paused, it stops within the drain limit, and so does one that starts', async () => {
  await using server = await startNatsServer()
  await using box = await sandbox({ nats: server })
  const nc = await box.connection('service')
  const running = await box.spawn('a')
  await box.connect(nc, 'ada', 'google', { n: 20 })
  await box.allLive(nc, ['ada'])
  process.kill(server.pid, 'SIGSTOP')
  try {
    await using starting = start(box.env('b'))
    await until('it waits', () => starting.lines.some((line) => line.includes('cannot be reached yet')))
    await Promise.all([endsWithin(running, DRAINED_MS), endsWithin(starting, AT_ONCE_MS)])
  } finally {
    process.kill(server.pid, 'SIGCONT')
  }
})
