import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { NATS_ROLES, type NatsRole, type NatsServer, startNatsServer } from './nats-server.ts'
import { until } from './until.ts'

const SCRIPT = join(import.meta.dirname, '../../scripts/nats-server.sh')

/** A connection that ends with `clients`: before its server does, or draining would wait for the server. */
async function connectAs(clients: AsyncDisposableStack, server: NatsServer, role?: NatsRole): Promise<NatsConnection> {
  const login = role === undefined ? {} : { user: role, password: server.passwords[role] }
  const options = { url: server.url, name: 'test', inboxPrefix: `_INBOX_${role ?? 'open'}`, waitMs: 2_000, ...login }
  const nc = await connectNats(options, createLog('test', 'silent'), AbortSignal.timeout(10_000))
  clients.defer(() => drainNats(nc, createLog('test', 'silent')))
  return nc
}

/** Runs the script with only `env` and the system's PATH. Never rejects. */
function runScript(
  args: string[],
  env: Record<string, string>,
  script = SCRIPT,
): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(script, args, { env: { PATH: process.env.PATH, ...env } }, (error, out, err) =>
      resolve({ code: Number(error?.code ?? 0), out, err }),
    )
  })
}

async function fakeServer(t: TestContext, version: string): Promise<{ dir: string; path: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-fake-'))
  t.after(() => rm(dir, { recursive: true }))
  const path = join(dir, 'nats-server')
  await writeFile(path, `#!/bin/sh\necho 'nats-server: v${version}'\n`)
  await chmod(path, 0o755)
  return { dir, path }
}

test('each role of nats.conf can log in with the password made for it, and nobody without one', async () => {
  await using server = await startNatsServer()
  await using clients = new AsyncDisposableStack()
  for (const role of NATS_ROLES) {
    assert.match(server.passwords[role], /^[a-z][0-9a-f]{32}$/)
    await connectAs(clients, server, role)
  }
  assert.equal(new Set(Object.values(server.passwords)).size, NATS_ROLES.length)
  await assert.rejects(connectAs(clients, server), /refuses NATS user/)
  assert.equal((await stat(join(server.dir, 'nats.env'))).mode & 0o777, 0o600)
})

test('a role is refused what nats.conf does not list for it', async () => {
  await using server = await startNatsServer()
  await using clients = new AsyncDisposableStack()
  const bridge = await connectAs(clients, server, 'bridge')
  const service = await connectAs(clients, server, 'service')
  await assert.rejects(bridge.request('mail.as.ada.status', '', { timeout: 2_000 }), /permissions violation/i)
  await assert.rejects(service.request('mail.as.ada.status', '', { timeout: 2_000 }), /no responders/i)
})

test('an open server lets anyone in', async () => {
  await using server = await startNatsServer({ conf: 'open' })
  await using clients = new AsyncDisposableStack()
  const nc = await connectAs(clients, server)
  assert.equal((await (await jetstreamManager(nc)).getAccountInfo()).streams, 0)
})

for (const conf of ['roles', 'open'] as const)
  test(`a killed server (${conf}) comes back on its port with its stream, and without it after a wipe`, async () => {
    await using server = await startNatsServer({ conf })
    await using clients = new AsyncDisposableStack()
    const { port, passwords, pid } = server
    const nc = await connectAs(clients, server, conf === 'roles' ? 'ops' : undefined)
    const streams = await jetstreamManager(nc)
    await streams.streams.add({ name: 'KEPT', subjects: ['kept'] })
    await jetstream(nc).publish('kept', 'one')

    await server.restart('SIGKILL')
    assert.notEqual(server.pid, pid)
    assert.deepEqual([server.port, server.passwords], [port, passwords])
    const again = await jetstreamManager(await connectAs(clients, server, conf === 'roles' ? 'ops' : undefined))
    assert.equal((await again.streams.info('KEPT')).state.messages, 1)

    await server.wipe()
    assert.equal(server.running, false)
    await server.start()
    assert.equal(server.port, port)
    const wiped = await jetstreamManager(await connectAs(clients, server, conf === 'roles' ? 'ops' : undefined))
    await assert.rejects(wiped.streams.info('KEPT'), /stream not found/)
  })

test('dispose ends the server and removes its directory', async () => {
  const server = await startNatsServer({ conf: 'open' })
  const { pid, dir } = server
  await server[Symbol.asyncDispose]()
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
  await assert.rejects(stat(dir), { code: 'ENOENT' })
})

test('a test process that is terminated takes its servers with it', async (t) => {
  const module = JSON.stringify(join(import.meta.dirname, 'nats-server.ts'))
  const program = `const { startNatsServer } = await import(${module})
    console.log((await startNatsServer({ conf: 'open', dir: process.cwd() })).pid)
    setInterval(() => {}, 1000)`
  const cwd = await mkdtemp(join(tmpdir(), 'mail-sync-nats-'))
  t.after(() => rm(cwd, { recursive: true }))
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    cwd,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = await once(child.stdout, 'data')
  const pid = Number(line)
  process.kill(pid, 0)
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  await ended
  await until('the server is gone', () => {
    try {
      return !process.kill(pid, 0)
    } catch {
      return true
    }
  })
})

test('a server that cannot start is reported with its own words', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-nats-'))
  t.after(() => rm(dir, { recursive: true }))
  await writeFile(join(dir, 'nats.env'), 'NATS_SYS_PASSWORD=12345\n')
  await assert.rejects(startNatsServer({ dir }), /did not start[\s\S]*NATS_MAILSYNC_PASSWORD/)
})

test('an old server named by NATS_SERVER is refused in one line', async (t) => {
  const old = await fakeServer(t, '2.9.10')
  const { code, out, err } = await runScript(['path'], { NATS_SERVER: old.path })
  assert.deepEqual([code, out], [78, ''])
  assert.match(err, /^nats-server\.sh: nats-server 2\.9\.10 at \S+ is too old: 2\.10\.0 or newer is needed.*\n$/)
})

test('a server named by NATS_SERVER that does not run is refused in one line', async () => {
  const { code, err } = await runScript(['path'], { NATS_SERVER: '/nowhere/nats-server' })
  assert.deepEqual([code, err], [78, 'nats-server.sh: NATS_SERVER=/nowhere/nats-server does not run\n'])
})

test('the oldest server that will do is taken from NATS_SERVER and from PATH', async (t) => {
  const fine = await fakeServer(t, '2.10.0')
  assert.equal((await runScript(['path'], { NATS_SERVER: fine.path })).out, `${fine.path}\n`)
  const onPath = await runScript(['path'], { PATH: `${fine.dir}:${process.env.PATH}` })
  assert.deepEqual(onPath, { code: 0, out: `${fine.path}\n`, err: '' })
})

test('an old server on PATH is passed over with a line that says so, and the private one is taken', async (t) => {
  const old = await fakeServer(t, '2.9.10')
  const fine = await fakeServer(t, '2.15.1')
  // A copy of the script has a .tools of its own.
  await cp(SCRIPT, join(old.dir, 'scripts/nats-server.sh'))
  await cp(fine.path, join(old.dir, '.tools/nats-server-sid'))
  const env = { PATH: `${old.dir}:${process.env.PATH}` }
  const { code, out, err } = await runScript(['path'], env, join(old.dir, 'scripts/nats-server.sh'))
  assert.deepEqual([code, out], [0, `${join(old.dir, '.tools/nats-server-sid')}\n`])
  assert.match(err, /^nats-server\.sh: passed over: nats-server 2\.9\.10 at \S+ is too old: 2\.10\.0 .*\n$/)
})

test('a server of one release is taken where that is asked for, and another one named or found is not', async (t) => {
  const [older, newer] = [await fakeServer(t, '2.10.27'), await fakeServer(t, '2.15.1')]
  const only = { NATS_SERVER_RELEASE: '2.10' }
  assert.equal((await runScript(['path'], { ...only, NATS_SERVER: older.path })).out, `${older.path}\n`)
  const named = await runScript(['path'], { ...only, NATS_SERVER: newer.path })
  const other = `nats-server 2.15.1 at ${newer.path} is not 2.10, which NATS_SERVER_RELEASE asks for\n`
  assert.deepEqual(named, { code: 78, out: '', err: `nats-server.sh: ${other}` })

  // A copy of the script has a .tools of its own.
  const copy = join(newer.dir, 'scripts/nats-server.sh')
  await cp(SCRIPT, copy)
  await cp(newer.path, join(newer.dir, '.tools/nats-server-sid'))
  await cp(older.path, join(newer.dir, '.tools/nats-server-trixie'))
  const found = await runScript(['path'], { ...only, PATH: `${newer.dir}:${process.env.PATH}` }, copy)
  const trixie = join(newer.dir, '.tools/nats-server-trixie')
  assert.deepEqual(found, { code: 0, out: `${trixie}\n`, err: `nats-server.sh: passed over: ${other}` })
})

test('a port that is taken is told in one line that says by what, with exit 69, and nothing is made', async (t) => {
  await using server = await startNatsServer({ conf: 'open' })
  const silent = createServer().listen(0, '127.0.0.1')
  t.after(() => silent.close())
  await once(silent, 'listening')
  const address = silent.address()
  assert.ok(typeof address === 'object' && address !== null)
  const dir = join(server.dir, 'second')
  const second = await runScript(['run', dir, '--port', String(server.port), '--http', String(address.port)], {})
  const taken = `nats-server.sh: port ${server.port} is taken, a nats-server runs there already: `
  assert.deepEqual([second.code, second.out], [69, ''])
  assert.equal(second.err, `${taken}use it, stop it, or start this one with another port (--port)\n`)
  const monitoring = await runScript(['run', dir, '--http', String(address.port)], {})
  assert.equal(monitoring.code, 69)
  assert.match(monitoring.err, /^nats-server\.sh: port \d+ is taken, another program listens there: .*\(--http\)\n$/)
  await assert.rejects(stat(dir), { code: 'ENOENT' })
})

test('passwords are made once and kept', async () => {
  await using server = await startNatsServer()
  const before = await readFile(join(server.dir, 'nats.env'), 'utf8')
  await server.restart()
  assert.equal(await readFile(join(server.dir, 'nats.env'), 'utf8'), before)
})
