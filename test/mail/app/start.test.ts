/** Starts that must be refused, by the real process: one line that says what to do, and the exit code that says who. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { createLog } from '#shared/log.ts'
import { connectNats } from '#shared/nats.ts'
import { deleteStream } from '../../support/delete-stream.ts'
import { InstanceProcess, MACHINE } from '../../support/instance.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'

const MAIN = join(import.meta.dirname, '../../../services/mail/main.js')
const JWKS = 'http://127.0.0.1:9/jwks'
const log = createLog('test', 'silent')

function start(env: NodeJS.ProcessEnv): InstanceProcess {
  const child = spawn(process.execPath, [MAIN], {
    env: { ...MACHINE, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return new InstanceProcess(child)
}
/** Exit code, and the lines that are for people: not those of the log. */
async function end(instance: InstanceProcess): Promise<{ code: number | null; lines: string[] }> {
  const closed = once(instance.child, 'close')
  const code = await instance.exited
  await closed
  return { code, lines: instance.lines.filter((line) => !line.startsWith('{')) }
}
async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
async function folder(stack: AsyncDisposableStack): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-start-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  return join(dir, 'data')
}

test('every fault of the environment is told at once, with exit 78', async () => {
  await using instance = start({ MAIL_SYNC_INTERVAL_MS: 'soon', NATS_URL: 'http://nats', MAIL_METRICS_PORT: '-1' })
  const { code, lines } = await end(instance)
  assert.equal(code, 78)
  assert.deepEqual(
    lines.map((line) => line.split(' ')[0]).toSorted(),
    ['BETTER_AUTH_JWKS_URL', 'MAIL_METRICS_PORT', 'MAIL_SYNC_INTERVAL_MS', 'NATS_URL'],
    lines.join('\n'),
  )
})

test('a file or folder that cannot be used is named in one line before NATS is asked, with exit 78', async () => {
  await using stack = new AsyncDisposableStack()
  const dataDir = await folder(stack)
  const good = { NATS_URL: 'nats://127.0.0.1:9', BETTER_AUTH_JWKS_URL: JWKS, MAIL_DATA_DIR: dataDir }
  const readable = join(dataDir, '../readable.db')
  await writeFile(readable, '')
  await chmod(readable, 0o640)
  const cases: [NodeJS.ProcessEnv, RegExp][] = [
    [{ NATS_CREDS: MAIN }, /^NATS_CREDS: \S+main\.js is no credentials file/],
    [{ MAIL_DATA_DIR: '/proc/x' }, /^MAIL_DATA_DIR: \/proc\S* cannot be made/],
    [{ AUTH_DB_PATH: tmpdir() }, /^AUTH_DB_PATH: \S+ is not a regular file/],
    [{ AUTH_DB_PATH: readable, MAIL_DATA_DIR: `${dataDir}2` }, /readable\.db can be read by others: .*chmod 600/],
    [{ NATS_URL: 'nats://n2:4222' }, /^NATS_URL: nats:\/\/n2:4222 is not on this machine/],
  ]
  await Promise.all(
    cases.map(async ([env, expected]) => {
      await using instance = start({ ...good, ...env })
      const { code, lines } = await end(instance)
      assert.deepEqual([code, lines.length], [78, 1], lines.join('\n'))
      assert.match(lines[0] ?? '', expected)
    }),
  )
})

test('a server older than 2.10 is refused in one line, with exit 78', async () => {
  await using stack = new AsyncDisposableStack()
  const info = { server_id: 'X', version: '2.9.10', proto: 1, max_payload: 1_048_576, headers: true, jetstream: true }
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk) => {
      for (const _ of chunk.toString().matchAll(/^PING\r\n/gm)) socket.write('PONG\r\n')
    })
    socket.write(`INFO ${JSON.stringify(info)}\r\n`)
  })
  const port = await listening(server)
  stack.defer(async () => {
    server.close()
    await once(server, 'close')
  })
  await using instance = start({
    NATS_URL: `nats://127.0.0.1:${port}`,
    BETTER_AUTH_JWKS_URL: JWKS,
    MAIL_DATA_DIR: await folder(stack),
  })
  const { code, lines } = await end(instance)
  assert.equal(code, 78)
  assert.equal(lines.length, 1, lines.join('\n'))
  assert.match(lines[0] ?? '', /^nats-server 2\.9\.10 at .* is too old: 2\.10\.0 or newer is needed/)
})

test('no NATS at all is waited for, then ends with exit 69 and what to do', async () => {
  const server = createServer()
  const port = await listening(server)
  server.close()
  await once(server, 'close')
  const options = { url: `nats://127.0.0.1:${port}`, name: 'test', inboxPrefix: '_INBOX', waitMs: 600 }
  await assert.rejects(connectNats(options, log, AbortSignal.timeout(10_000)), {
    name: 'ExitError',
    exitCode: 69,
    message: /^cannot reach NATS at .*make nats/,
  })
})

test('asked to stop while it waits for NATS, it stops as from any other state: exit 0', async () => {
  await using stack = new AsyncDisposableStack()
  await using instance = start({
    NATS_URL: 'nats://127.0.0.1:9',
    BETTER_AUTH_JWKS_URL: JWKS,
    MAIL_DATA_DIR: await folder(stack),
  })
  await until('it waits', () => instance.lines.some((line) => line.includes('cannot be reached yet')))
  instance.child.kill('SIGTERM')
  assert.equal(await instance.exited, 0, instance.lines.join('\n'))
})

test('a stream that would store refresh tokens, and a folder in use, are refused with exit 78', async () => {
  await using box = await sandbox()
  const running = await box.spawn('a')
  await using second = start(box.env('a'))
  const used = await end(second)
  assert.equal(used.code, 78)
  assert.deepEqual(used.lines, [
    `${join(box.dir, 'a')} is used by pid ${running.pid}; give this instance its own MAIL_DATA_DIR`,
  ])
  const jsm = await jetstreamManager(await box.connection('ops'))
  await running.kill('SIGKILL')
  for (const subject of ['mail.>', 'mail.as.ada.connect']) {
    await jsm.streams.add({ name: 'GREEDY', subjects: [subject] })
    await using instance = start(box.env('b'))
    const { code, lines } = await end(instance)
    assert.equal(code, 78, subject)
    assert.deepEqual(lines.length, 1, lines.join('\n'))
    assert.match(lines[0] ?? '', /^stream GREEDY captures subjects of mail\.> and would store refresh tokens/)
    await deleteStream(jsm, 'GREEDY')
  }
})

test('production without a token key is refused in one line, with exit 78, and no key is made; elsewhere one is', async () => {
  await using box = await sandbox()
  const { MAIL_TOKEN_KEYS: _, ...withoutKey } = box.env('a')
  const file = join(box.dir, '.mail-sync', 'token.key')
  await using refused = start({ ...withoutKey, NODE_ENV: 'production' })
  const { code, lines } = await end(refused)
  assert.deepEqual([code, lines.length], [78, 1], lines.join('\n'))
  assert.match(
    lines[0] ?? '',
    /^There is no token key, and NODE_ENV=production makes none .* make a key with: node -e /,
  )
  assert.equal(existsSync(dirname(file)), false)
  await using started = start(withoutKey)
  await started.ready()
  assert.equal(existsSync(file), true)
})

test('a metrics port that is taken ends the process with exit 78 and leaves nothing running', async () => {
  await using stack = new AsyncDisposableStack()
  const taken = createServer()
  const port = await listening(taken)
  stack.defer(async () => {
    taken.close()
    await once(taken, 'close')
  })
  await using box = await sandbox()
  await using instance = start(box.env('a', { MAIL_METRICS_PORT: String(port) }))
  const { code, lines } = await end(instance)
  assert.deepEqual([code, lines], [78, [`cannot serve metrics on 127.0.0.1:${port}`]])
})
